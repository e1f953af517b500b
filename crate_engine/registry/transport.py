"""One HTTP request and its response, by one of two libraries behind one seam: requests, or http.client for what is small and in a hurry.

Importing requests takes longer than everything else that a pull of an unchanged tag does; http.client, which requests stands on, takes a
quarter of that. It is used for single small requests that go through no proxy. The traps of http.client are met here and by the readers
of `Response`: no redirect is followed, no body is read as a whole, a body that ends too early is not taken for complete. Nothing here knows of
registries or logins; every failure of either library is `Broken`.
"""

from __future__ import annotations

import http.client
import threading
import time
from urllib.parse import urlsplit

from crate_engine import limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self

    from crate_engine.registry.proxies import Proxies
    from crate_engine.registry.trust import Trust

    Body = bytes | Callable[[], Any] | None
    """Bytes, or a function that opens the content anew for each try: a file or an iterator of bytes, with a Content-Length in the headers."""

PIECE = 256 << 10
_AGENT = "crate"
_SHOWN = 200


class Broken(Exception):
    """A request or transfer failed on the way. `certificate`: it was refused; `refused`: nobody listens; `unknown`: there is no such host.

    `host` is whose failure it was, where that is not the one that was asked first.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(_cause(error))
        self.host = ""
        text = repr(error)
        inner = _innermost(error)
        self.certificate = "CERTIFICATE_VERIFY_FAILED" in text or "CERTIFICATE_VERIFY_FAILED" in repr(inner)
        self.refused = isinstance(inner, ConnectionRefusedError)
        self.unknown = getattr(inner, "errno", None) in (-2, -5)  # EAI_NONAME, EAI_NODATA


class Response:
    """`headers` have names in lower case; of a name that came several times the values are joined with commas. Close it."""

    __slots__ = ("_close", "_read", "headers", "status", "url")

    def __init__(
        self,
        status: int,
        headers: dict[str, str],
        url: str,
        read: Callable[[int], bytes],
        close: Callable[[], None],
    ) -> None:
        self.status = status
        self.headers = headers
        self.url = url
        self._read = read
        self._close = close

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), "")

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives. Raises Broken when it breaks off or hardly moves; a short body just ends: the caller knows the size."""
        since, received = time.monotonic(), 0
        while piece := self._read(PIECE):
            yield piece
            received += len(piece)
            now = time.monotonic()
            if now - since > limits.STALL_SECONDS:
                if received < limits.SLOW_BYTES_PER_STALL:
                    raise Broken(
                        TimeoutError(f"less than {limits.SLOW_BYTES_PER_STALL} bytes came in {limits.STALL_SECONDS} seconds")
                    )
                since, received = now, 0

    def close(self) -> None:
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


class _Answer(http.client.HTTPResponse):
    """http.client skips informational answers (100 Continue) as long as they come, and waits for headers byte by byte: either may be for ever."""

    _seen = 0

    def begin(self) -> None:
        file = self.fp
        lines: Any = _Lines(file, time.monotonic() + limits.STALL_SECONDS)
        self.fp = lines
        try:
            super().begin()
        finally:
            if self.fp is lines:
                self.fp = file

    def _read_status(self) -> tuple[str, int, str]:
        self._seen += 1
        if self._seen > limits.INFORMATIONAL:
            raise http.client.HTTPException(f"more than {limits.INFORMATIONAL} informational answers")
        status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
        return status


class _Lines:
    """The lines of a buffered file, until a moment of the monotonic clock."""

    def __init__(self, file: Any, end: float) -> None:
        self._file = file
        self._end = end
        self.close = file.close

    def readline(self, limit: int) -> bytes:
        line = b""
        while len(line) < limit and not line.endswith(b"\n"):
            if time.monotonic() > self._end:
                raise TimeoutError("timed out")
            waiting = self._file.peek(1)  # at most one read from the socket
            if not waiting:
                break
            length = waiting.find(b"\n") + 1 or len(waiting)
            line += self._file.read(min(length, limit - len(line)))
        return line


class Wire:
    """Sends requests, and keeps connections open for the next one. Threads may share it for all but `light` requests."""

    def __init__(self, trust: Trust, proxies: Proxies) -> None:
        self.trust = trust
        self._proxies = proxies
        self._light: dict[tuple[str, str], http.client.HTTPConnection] = {}
        self._session: Any = None
        self._starting = threading.Lock()

    def close(self) -> None:
        for connection in self._light.values():
            connection.close()
        self._light.clear()
        if self._session is not None:
            self._session.close()

    def send(self, method: str, url: str, headers: dict[str, str], body: Body = None, *, light: bool = False) -> Response:
        """Raises Broken. Redirects and errors of the server are responses like others."""
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **headers}
        proxy = self._proxies.choose(url)
        if light and not proxy:
            return self._send_light(method, url, headers, body)
        return self._send_by_requests(method, url, headers, body, proxy)

    def _send_light(self, method: str, url: str, headers: dict[str, str], body: Body) -> Response:
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        connection = self._light.pop(origin, None) or self._connection(*origin)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            fresh = connection.sock is None
            connection.response_class = _Answer
            if fresh:
                connection.connect()
                connection.sock.settimeout(limits.STALL_SECONDS)
            connection.request(method, target, body=body() if callable(body) else body, headers=headers)
            answer = connection.getresponse()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            if not fresh and isinstance(error, (http.client.RemoteDisconnected, ConnectionError)) and not callable(body):
                return self._send_light(method, url, headers, body)  # the server closed an idle connection, as it may
            raise Broken(error) from error
        merged: dict[str, str] = {}
        for name, value in answer.getheaders():
            name = name.lower()
            merged[name] = f"{merged[name]}, {value}" if name in merged else value

        read = _reader(answer)

        def close() -> None:
            if answer.isclosed() and connection.sock is not None:
                self._light[origin] = connection
            else:
                connection.close()

        return Response(answer.status, merged, url, read, close)

    def _connection(self, scheme: str, host: str) -> http.client.HTTPConnection:
        if scheme == "https":
            return http.client.HTTPSConnection(host, timeout=limits.CONNECT_SECONDS, context=self.trust.context(host))
        return http.client.HTTPConnection(host, timeout=limits.CONNECT_SECONDS)

    def _send_by_requests(self, method: str, url: str, headers: dict[str, str], body: Body, proxy: str) -> Response:
        import requests
        from urllib3.exceptions import HTTPError

        session = self._full(requests)
        host = urlsplit(url).netloc
        try:
            answer = session.request(
                method,
                url,
                headers=headers,
                data=body() if callable(body) else body,
                stream=True,
                allow_redirects=False,
                timeout=(limits.CONNECT_SECONDS, limits.STALL_SECONDS),
                # Of the adapter for this host the context decides; this says only that an unverified one is meant.
                verify=self.trust.verified(host),
                proxies={"http": proxy, "https": proxy} if proxy else {},
            )
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError, ValueError) as error:
            raise Broken(error) from error  # ValueError: requests looks where a redirect leads, even if it is not to be followed

        if not hasattr(answer.raw, "read1"):  # urllib3 before 2.1
            read = _reader(answer.raw._fp)
        else:

            def read(count: int) -> bytes:
                try:
                    piece: bytes = answer.raw.read1(count, decode_content=False)
                    return piece
                except (HTTPError, http.client.HTTPException, OSError) as error:
                    raise Broken(error) from error

        return Response(
            answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, url, read, answer.close
        )

    def _full(self, requests: Any) -> Any:
        """The session of requests, with nothing of the environment: no ~/.netrc, no cookies, no authorities and proxies but ours."""
        with self._starting:
            if self._session is not None:
                return self._session
            from http.cookiejar import DefaultCookiePolicy

            # What is not verified was asked to be so; a warning a request would drown everything else.
            requests.packages.urllib3.disable_warnings()
            session = requests.Session()
            session.trust_env = False
            session.headers.clear()
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            adapter = _adapter(requests, self.trust)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            self._session = session
            return session


def _adapter(requests: Any, trust: Trust) -> Any:
    class ByHost(requests.adapters.HTTPAdapter):  # type: ignore[misc]
        """One pool of connections for each context: a client certificate is shown to the host that it is for, and to no other."""

        def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
            return self._pool(request.url, proxies)

        def get_connection(self, url: str, proxies: Any = None) -> Any:  # requests before 2.32
            return self._pool(url, proxies)

        def _pool(self, url: str, proxies: Any) -> Any:
            parts = urlsplit(url)
            proxy = (proxies or {}).get(parts.scheme)
            source = self.proxy_manager_for(proxy) if proxy else self.poolmanager
            own = {"ssl_context": trust.context(parts.netloc)} if parts.scheme == "https" else {}
            pool = source.connection_from_host(parts.hostname, parts.port, parts.scheme, pool_kwargs=own)
            if pool.ConnectionCls.response_class is not _Answer:
                pool.ConnectionCls = type("Connection", (pool.ConnectionCls,), {"response_class": _Answer})
            return pool

        def cert_verify(self, *_: object, **__: object) -> None:
            """The context has the authorities: requests would add a list of its own."""

    return ByHost(pool_maxsize=8, max_retries=0)


def _reader(answer: http.client.HTTPResponse) -> Callable[[int], bytes]:
    """What one read from the socket gives: a read of a fixed count waits until it is complete, however long that takes.

    read1 of http.client waits for more than the body has, on a connection that stays open: the end is found here.
    """
    left = None if answer.chunked else answer.length

    def read(count: int) -> bytes:
        nonlocal left
        if left is not None and left <= 0:
            answer.close()
            return b""
        try:
            piece = answer.read1(count if left is None else min(count, left))
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise Broken(error) from error
        if left is not None:
            left -= len(piece)
        return piece

    return read


def read_all(response: Response, limit: int) -> bytes | None:
    """The whole body, or None where it is larger than `limit` bytes. Raises Broken, also for one that ends too early."""
    parts: list[bytes] = []
    total = 0
    for piece in response.pieces():
        parts.append(piece)
        total += len(piece)
        if total > limit:
            return None
    length = response.header("content-length")
    if length.isascii() and length.isdigit() and int(length[:18]) != total:
        raise Broken(ConnectionError("the answer ended too early"))
    return b"".join(parts)


def _innermost(error: BaseException) -> BaseException:
    """The reason of the libraries' nested errors."""
    seen: Iterable[object] = ()
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None and isinstance(
        inner, BaseException
    ):
        if inner in (seen := (*seen, error)):
            break
        error = inner
    return error


def _cause(error: BaseException) -> str:
    inner = _innermost(error)
    if type(inner).__name__ == "IncompleteRead":  # http.client's and urllib3's
        return "the connection ended too early"
    text = getattr(inner, "strerror", None) or str(inner) or type(inner).__name__
    # Some of these quote what the server has sent.
    text = "".join(character if character.isprintable() else " " for character in text[:_SHOWN]).strip()
    return "timed out" if "timed out" in text.lower() else text
