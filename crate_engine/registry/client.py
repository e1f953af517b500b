"""Pulling from a registry (OCI distribution-spec, *Pull*): manifests by name, blobs by digest, resumed where they broke off.

The one module that speaks HTTP. Redirects are followed here, not by the library: a login or token is sent to the registry's own origin
and to no other (CVE-2020-15157). Addresses in descriptors are not followed at all.
"""

from __future__ import annotations

import email.utils
import random
import threading
import time
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from crate_engine import limits
from crate_engine.errors import (
    CrateError,
    DigestMismatch,
    ImageError,
    ImageNotFound,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference
from crate_engine.registry import auth, credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from crate_engine.store.blobs import BlobWriter

_PIECE = 256 << 10
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HOSTS = {"docker.io": "registry-1.docker.io"}


class Registry:
    """One registry, for the length of one pull. Methods may be called from several threads, once `manifest` has returned."""

    def __init__(self, host: str, *, insecure: Iterable[str] = ()) -> None:
        """`host` as in a reference, with its port. For those listed in `insecure`, and on the loopback network as docker has it, certificates are
        not checked and plain http is spoken where https is not."""
        import requests

        self._requests = requests
        # What is not verified was asked to be so; a warning a request would drown everything else.
        requests.packages.urllib3.disable_warnings()  # type: ignore[attr-defined]
        self._registry = host
        self._host = _HOSTS.get(host, host)
        self._unverified = host in set(insecure) or _is_loopback(host)
        self._scheme = "" if self._unverified else "https"
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "crate", "Accept-Encoding": "identity"})
        # Not None: requests would look for logins in ~/.netrc, for whatever host a redirect leads to.
        self._session.auth = _no_login
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=8, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._challenges: list[auth.Challenge] = []
        self._authorizations: dict[str, str] = {}
        self._authorizing = threading.Lock()

    def close(self) -> None:
        self._session.close()

    def manifest(self, reference: Reference, digest: Digest | None = None) -> tuple[bytes, str, Digest]:
        """The document that the reference, or `digest` in its repository, stands for: bytes, media type, and the digest of the bytes.

        Raises ImageNotFound, DigestMismatch, RegistryError.
        """
        wanted = digest or reference.digest
        what = f"pull {reference.familiar}"
        if self._unverified and not self._scheme:
            self._choose_scheme()
        path = f"/v2/{reference.repository}/manifests/{wanted or reference.tag}"
        with self._get(path, reference.repository, what, {"Accept": ", ".join(media_types.ACCEPTED)}) as response:
            content = _read_all(response, limits.MANIFEST_BYTES, what)
            media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            announced = response.headers.get("Docker-Content-Digest")
        found = Digest.of(content)
        if wanted is not None and not wanted.matches(content):
            raise DigestMismatch(f"{what}: the registry sent a manifest with the digest {found} for {wanted}")
        if announced and announced.startswith("sha256:") and announced != str(found):
            raise DigestMismatch(f"{what}: the registry announced the digest {announced[:80]} and sent a manifest with {found}")
        return content, media_type, wanted or found

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        """A small blob in memory, of the right size and digest."""
        what = f"pull {reference.familiar}: blob {descriptor.digest}"
        with self._get(f"/v2/{reference.repository}/blobs/{descriptor.digest}", reference.repository, what, {}) as response:
            content = _read_all(response, descriptor.size, what)
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise DigestMismatch(f"{what}: the registry sent something else")
        return content

    def fetch(self, reference: Reference, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        """Write what `writer` does not have yet; a broken connection is taken up where it broke, for a limited number of times."""
        what = f"pull {reference.familiar}: blob {descriptor.digest}"
        attempt = 0
        while writer.offset < descriptor.size:
            before = writer.offset
            try:
                self._fetch_once(reference, descriptor, writer, on_piece, what)
            except _Interrupted as interruption:
                # Progress earns new attempts: a large blob over a poor line breaks often.
                attempt = 1 if writer.offset - before > _PIECE else attempt + 1
                if attempt >= limits.ATTEMPTS:
                    raise RegistryUnreachable(f"{what}: {interruption.cause}") from interruption
                _sleep(attempt, None)

    def _fetch_once(
        self, reference: Reference, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None], what: str
    ) -> None:
        headers = {"Range": f"bytes={writer.offset}-"} if writer.offset else {}
        with self._get(f"/v2/{reference.repository}/blobs/{descriptor.digest}", reference.repository, what, headers) as response:
            skip = _bytes_to_skip(response, writer.offset, descriptor.size, what)
            for piece in _pieces(response):
                useful = piece[skip:]
                skip = max(0, skip - len(piece))
                if useful:
                    writer.write(useful)
                    on_piece(len(useful))
        if writer.offset < descriptor.size:
            raise _Interrupted("the connection ended too early")

    def _choose_scheme(self) -> None:
        """https, or http where that is allowed and https is not spoken. No login is sent."""
        for scheme in ("https", "http"):
            try:
                self._send("GET", f"{scheme}://{self._host}/v2/", {}).close()
            except self._requests.RequestException:
                continue
            self._scheme = scheme
            return
        raise RegistryUnreachable(
            f"reach registry {self._registry}: neither https nor http is answered", hint="is it running, and the port right?"
        )

    def _get(self, path: str, repository: str, what: str, headers: dict[str, str]) -> Any:
        """A successful response, whose body is still to be read. Logs in when asked to; tries again what may work a little later."""
        url = f"{self._scheme}://{self._host}{quote(path, safe='/:@')}"
        scope = f"repository:{repository}:pull"
        asked = False
        for attempt in range(1, limits.ATTEMPTS + 1):
            try:
                response = self._follow(url, headers, self._authorizations.get(scope))
            except (self._requests.RequestException, OSError) as error:
                if attempt == limits.ATTEMPTS or _is_certificate_error(error):
                    raise self._unreachable(what, error) from error
                _sleep(attempt, None)
                continue
            if response.status_code == 401 and not asked:
                asked = True
                self._authorize(response, scope, repository)
                continue
            if response.status_code not in _RETRIED or attempt == limits.ATTEMPTS:
                return _successful(response, what, self._registry)
            delay = _retry_after(response)
            if delay is not None and delay > limits.RETRY_AFTER_SECONDS:
                return _successful(response, what, self._registry)
            response.close()
            _sleep(attempt, delay)
        raise AssertionError("unreachable")

    def _follow(self, url: str, headers: dict[str, str], authorization: str | None) -> Any:
        origin = urlsplit(url)[:2]
        for _ in range(limits.REDIRECTS + 1):
            own = {"Authorization": authorization} if authorization and urlsplit(url)[:2] == origin else {}
            response = self._send("GET", url, {**headers, **own})
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                return response
            target = urljoin(url, response.headers["Location"])
            response.close()
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                raise RegistryError(f"follow redirect of {self._registry}: it leads to no web address")
            if parts.scheme == "http" and origin[0] == "https":
                raise RegistryError(f"follow redirect of {self._registry}: it leads from https to plain http")
            url = target
        raise RegistryError(f"follow redirect of {self._registry}: there are more than {limits.REDIRECTS}")

    def _send(self, method: str, url: str, headers: dict[str, str], *, form: str | None = None) -> Any:
        # None, and not True, leaves the authorities to the environment (REQUESTS_CA_BUNDLE).
        return self._session.request(
            method,
            url,
            headers=headers,
            data=form,
            stream=True,
            allow_redirects=False,
            timeout=(limits.CONNECT_SECONDS, limits.STALL_SECONDS),
            verify=False if self._unverified else None,
        )

    def _authorize(self, refused: Any, scope: str, repository: str) -> None:
        """Answer a 401 of the registry's own origin; redirected ones never get here with a challenge that is used."""
        challenges = auth.parse_challenges(refused.headers.get("WWW-Authenticate", ""))
        own = urlsplit(refused.url)[:2] == (self._scheme, self._host)
        refused.close()
        if not own:
            raise RegistryError(f"pull from {self._registry}: a redirect led to a place that wants a login")
        with self._authorizing:
            login = credentials.find(self._registry, repository)
            plain = self._scheme == "http"
            flow = auth.authorize(self._registry, challenges, scope, login, insecure=plain)
            try:
                request = next(flow)
                while True:
                    request = flow.send(self._token(request, login))
            except StopIteration as done:
                self._authorizations[scope] = done.value

    def _token(self, request: auth.TokenRequest, login: auth.Credentials | None) -> bytes:
        headers = {"Authorization": request.authorization} if request.authorization else {}
        if request.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        what = f"log in to {self._registry}"
        try:
            response = self._send("POST" if request.form else "GET", request.url, headers, form=request.form or None)
        except (self._requests.RequestException, OSError) as error:
            raise self._unreachable(what, error) from error
        with response:
            if response.status_code in (401, 403):
                cause = "the registry refused the login" if login else "the registry wants a login, and there is none for it"
                raise auth.login_required(self._registry, cause)
            return _read_all(_successful(response, what, self._registry), limits.TOKEN_BYTES, what)

    def _unreachable(self, what: str, error: BaseException) -> CrateError:
        hint = (
            "for a registry with a certificate of its own, list it as insecure in the settings"
            if _is_certificate_error(error)
            else None
        )
        return RegistryUnreachable(f"{what}: {self._registry} cannot be reached: {_cause(error)}", hint=hint)


class _Interrupted(Exception):
    """A transfer broke off, and may be continued."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


def _no_login(request: Any) -> Any:
    return request


def _is_loopback(host: str) -> bool:
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    parts = name.split(".")
    in_network = (
        len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts)
    )
    return name in ("localhost", "[::1]") or in_network


def _successful(response: Any, what: str, registry: str) -> Any:
    """The response itself, or the error that it means."""
    status = response.status_code
    if status in (200, 206):
        return response
    with response:
        said = _said(response)
    if status == 404:
        raise ImageNotFound(f"{what}: {registry} has no such image{said}", hint="check the name and the tag")
    if status == 429:
        raise RateLimited(
            f"{what}: {registry} refuses more requests for now{said}", hint="wait, or log in: logged-in users may pull more"
        )
    if status in (401, 403):
        raise auth.login_required(registry, f"access was denied (status {status}){said}")
    raise RegistryError(f"{what}: {registry} answered with status {status}{said}")


def _said(response: Any) -> str:
    """The first message of the distribution-spec's error document, made printable; empty when there is none."""
    import json

    try:
        document = json.loads(response.raw.read(limits.ERROR_BYTES, decode_content=False))
        message = str(document["errors"][0]["message"])[:300]
    except Exception:
        return ""
    return ": " + "".join(character if character.isprintable() else " " for character in message)


def _pieces(response: Any) -> Iterator[bytes]:
    """The body as it arrives; raises _Interrupted when it breaks off or hardly moves. A short body just ends: the caller knows the size."""
    from urllib3.exceptions import HTTPError

    since, received = time.monotonic(), 0
    while True:
        try:
            piece = _read_some(response.raw)
        except (HTTPError, HTTPException, OSError) as error:
            raise _Interrupted(_cause(error)) from error
        if not piece:
            return
        yield piece
        received += len(piece)
        now = time.monotonic()
        if now - since > limits.STALL_SECONDS:
            if received < limits.SLOW_BYTES_PER_STALL:
                raise _Interrupted(f"less than {limits.SLOW_BYTES_PER_STALL} bytes came in {limits.STALL_SECONDS} seconds")
            since, received = now, 0


def _read_some(raw: Any) -> bytes:
    """What one read from the socket gives. A read of a fixed count waits until it is complete, however long that takes."""
    if hasattr(raw, "read1"):
        piece: bytes = raw.read1(_PIECE, decode_content=False)
    else:
        piece = raw._fp.read1(_PIECE)  # urllib3 before 2.1
    return piece


def _read_all(response: Any, limit: int, what: str) -> bytes:
    parts: list[bytes] = []
    total = 0
    try:
        for piece in _pieces(response):
            parts.append(piece)
            total += len(piece)
            if total > limit:
                raise ImageError(f"{what}: the answer is larger than the {limit} bytes allowed")
    except _Interrupted as interruption:
        raise RegistryUnreachable(f"{what}: {interruption.cause}") from interruption
    length = response.headers.get("Content-Length", "")
    if length.isascii() and length.isdigit() and int(length) != total:
        raise RegistryUnreachable(f"{what}: the answer ended too early")
    return b"".join(parts)


def _bytes_to_skip(response: Any, offset: int, size: int, what: str) -> int:
    """How much of the body is known already: servers may ignore a Range and send all."""
    if response.status_code == 200:
        return offset
    content_range = response.headers.get("Content-Range", "")
    if not content_range.startswith(f"bytes {offset}-") or not content_range.endswith((f"/{size}", "/*")):
        raise RegistryError(f"{what}: the registry sent another part ({content_range[:80]!r}) than was asked for")
    return 0


def _retry_after(response: Any) -> float | None:
    """Seconds, from a number or a date (RFC 9110 section 10.2.3); None when the header is absent or makes no sense."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _sleep(attempt: int, delay: float | None) -> None:
    """As long as was asked for, else longer each time; never exactly as long as everyone else."""
    time.sleep((delay if delay is not None else 0.25 * 2**attempt) + random.uniform(0, 0.25))


def _is_certificate_error(error: BaseException) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in repr(error)


def _cause(error: BaseException) -> str:
    """The innermost reason of the library's nested errors."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) is not None and isinstance(
        inner, BaseException
    ):
        error = inner
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return "timed out" if "timed out" in text.lower() else text
