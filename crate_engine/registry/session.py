"""One registry for the length of one command: which scheme it speaks, logging in once for each scope, redirects, trying again.

What the distribution specification asks of every client, before any of its end points. A login or token is sent to the registry's own origin and
to no other, wherever redirects lead (CVE-2020-15157); a token service is asked only where the registry's own origin named it.
"""

from __future__ import annotations

import os
import random
import threading
import time
from urllib.parse import quote, urljoin, urlsplit

from crate_engine import limits
from crate_engine.errors import RegistryError, RegistryUnreachable
from crate_engine.registry import auth, credentials, refusals
from crate_engine.registry.proxies import Proxies
from crate_engine.registry.transport import Broken, Wire, read_all
from crate_engine.registry.trust import Trust, host_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from crate_engine.registry.access import Access
    from crate_engine.registry.transport import Body, Response

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE = frozenset({"GET", "HEAD"})
_HOSTS = {"docker.io": "registry-1.docker.io"}


def wire(access: Access, insecure: Iterable[str] = ()) -> Wire:
    """The connections of one command; `insecure` are those that registries.conf adds."""
    trust = Trust((*access.insecure, *insecure), tls_verify=access.tls_verify)
    return Wire(trust, Proxies.of(os.environ, access.proxies))


class Session:
    """Methods may be called from several threads, but for `light` requests and the first of all, which finds out the scheme."""

    def __init__(self, registry: str, wire: Wire, *, authfile: str | None = None, login: auth.Credentials | None = None) -> None:
        """`registry` as in a reference, with its port. `login` is used instead of those that are kept."""
        self.registry = registry
        self._host = _HOSTS.get(registry, registry)
        self._wire = wire
        self._authfile = authfile
        self._login = login
        self._scheme = "https" if wire.trust.verified(self._host) else ""
        self._authorizations: dict[str, str] = {}
        self._authorizing = threading.Lock()
        self._reached = False
        self.logged_in = False
        """A login was used."""

    def request(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        what: str,
        headers: dict[str, str] | None = None,
        body: Body = None,
        expected: Collection[int] = (200,),
        attempts: int | None = None,
        light: bool = False,
    ) -> Response:
        """A response with an expected status, whose body is still to be read. Logs in when asked to; tries again what may work a little later.

        `path` may be a whole address, as in a Location header. `scope` is like `repository:library/nginx:pull`, `what` begins the text of
        errors, `light` sends it without requests where that can be. Raises RegistryError, ImageNotFound.
        """
        attempts = attempts or limits.ATTEMPTS
        asked, attempt = False, 1
        while True:
            used = self._authorizations.get(scope)
            try:
                response = self._follow(method, path, headers or {}, body, used, light=light)
            except Broken as broken:
                if attempt >= attempts or self._is_final(broken):
                    raise refusals.unreachable(what, broken.host or self.registry, broken) from broken
                attempt, delay = attempt + 1, None
            else:
                self._reached = True
                if response.status in expected:
                    return response
                if response.status == 401 and not asked:
                    asked = True
                    self._authorize(response, scope, used, what, light=light)
                    continue
                delay = refusals.retry_after(response)
                too_long = delay is not None and delay > limits.RETRY_AFTER_SECONDS
                if response.status not in _RETRIED or attempt >= attempts or too_long:
                    raise refusals.refusal(response, what, self.registry, logged_in=self.logged_in)
                response.close()
                attempt += 1
            _sleep(attempt - 1, delay)

    def _is_final(self, broken: Broken) -> bool:
        return broken.certificate or broken.unknown or (broken.refused and not self._reached)

    def _follow(
        self, method: str, path: str, headers: dict[str, str], body: Body, authorization: str | None, *, light: bool
    ) -> Response:
        response = self._first(method, path, headers, body, authorization, light=light)
        origin = (self._scheme, self._host)
        for _ in range(limits.REDIRECTS + 1):
            target = self._redirect(response, method)
            if target is None:
                return response
            response.close()
            own = {"Authorization": authorization} if authorization and urlsplit(target)[:2] == origin else {}
            try:
                response = self._wire.send(method, target, {**headers, **own}, body, light=light)
            except Broken as broken:
                broken.host = urlsplit(target).netloc
                raise
        response.close()
        raise RegistryError(f"follow redirect of {self.registry}: there are more than {limits.REDIRECTS}")

    def _redirect(self, response: Response, method: str) -> str | None:
        """Where a response leads; None: it is no redirect, or one that would turn an upload into something else."""
        location = response.header("location")
        if response.status not in _REDIRECTS or not location or (method not in _SAFE and response.status not in (307, 308)):
            return None
        try:
            target = urljoin(response.url, location)
            parts = urlsplit(target)
            _ = parts.port
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not target.isascii():
            response.close()
            raise RegistryError(f"follow redirect of {self.registry}: it leads to no web address")
        if parts.scheme == "http" and urlsplit(response.url).scheme == "https":
            response.close()
            raise RegistryError(f"follow redirect of {self.registry}: it leads from https to plain http")
        return target

    def _first(
        self, method: str, path: str, headers: dict[str, str], body: Body, authorization: str | None, *, light: bool
    ) -> Response:
        """To the registry itself, or where it told an upload to go; the first request of all finds out whether it speaks https."""
        if "://" in path:
            own = {"Authorization": authorization} if authorization and urlsplit(path)[:2] == (self._scheme, self._host) else {}
            return self._wire.send(method, path, {**headers, **own}, body, light=light)
        own = {"Authorization": authorization} if authorization else {}
        address = f"{self._host}{quote(path, safe='/:@?&=%,+')}"
        if not self._scheme and method not in _SAFE:
            self._first("GET", "/v2/", {}, None, None, light=True).close()
        if self._scheme:
            return self._wire.send(method, f"{self._scheme}://{address}", {**headers, **own}, body, light=light)
        failures: list[Broken] = []
        for scheme in ("https", "http"):
            try:
                response = self._wire.send(method, f"{scheme}://{address}", {**headers, **own}, body, light=light)
            except Broken as broken:
                failures.append(broken)
                continue
            self._scheme = scheme
            return response
        if not all(broken.refused for broken in failures):
            raise failures[-1]  # somebody is there, and may answer the next time
        raise RegistryUnreachable(
            f"reach registry {self.registry}: neither https nor http is answered", hint="is it running, and the port right?"
        )

    def _authorize(self, refused: Response, scope: str, used: str | None, what: str, *, light: bool) -> None:
        """Answer a 401 of the registry's own origin; what redirects lead to gets no login."""
        challenges = auth.parse_challenges(refused.header("www-authenticate"))
        own = urlsplit(refused.url)[:2] == (self._scheme, self._host)
        refused.close()
        if not own:
            raise RegistryError(f"{what}: {self.registry} redirects to {urlsplit(refused.url).netloc}, which wants a login")
        with self._authorizing:
            if self._authorizations.get(scope) != used:
                return  # another thread has just been given a new one
            login = self._login or self._kept_login(scope)
            self.logged_in = login is not None
            flow = auth.authorize(self.registry, challenges, scope, login, insecure=self._scheme == "http")
            try:
                request = next(flow)
                while True:
                    request = flow.send(self._token(request, login, light=light))
            except StopIteration as done:
                self._authorizations[scope] = done.value

    def _kept_login(self, scope: str) -> auth.Credentials | None:
        repository = scope.split(":")[1] if scope.count(":") >= 2 else ""
        return credentials.find(self.registry, repository, authfile=self._authfile)

    def _token(self, request: auth.TokenRequest, login: auth.Credentials | None, *, light: bool) -> bytes:
        parts = urlsplit(request.url)
        what = f"log in to {self.registry}"
        same = parts.hostname == host_name(self._host).lower()
        if parts.scheme == "http" and not same and self._wire.trust.verified(parts.netloc):
            raise RegistryError(f"{what}: the registry names the token service {parts.netloc[:200]!r}, and plain http for it")
        headers = {"Authorization": request.authorization} if request.authorization else {}
        if request.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        response = self._ask_service(request, headers, what, parts.netloc, light=light)
        with response:
            if response.status in (400, 401, 403) and (login or response.status != 400):
                cause = "the registry refused the login" if login else "the registry wants a login, and there is none for it"
                raise auth.login_required(self.registry, cause)
            if response.status != 200:
                raise refusals.refusal(response, what, parts.netloc)
            try:
                content = read_all(response, limits.TOKEN_BYTES)
            except Broken as broken:
                raise refusals.unreachable(what, parts.netloc, broken) from broken
        if content is None:
            raise RegistryError(f"{what}: the token is larger than the {limits.TOKEN_BYTES} bytes allowed")
        return content

    def _ask_service(self, request: auth.TokenRequest, headers: dict[str, str], what: str, host: str, *, light: bool) -> Response:
        """Redirects are not followed: the login is for the address that the registry named."""
        method, body = ("POST", request.form.encode()) if request.form else ("GET", None)
        for attempt in range(1, limits.ATTEMPTS + 1):
            try:
                response = self._wire.send(method, request.url, headers, body, light=light)
            except Broken as broken:
                if attempt == limits.ATTEMPTS or broken.certificate or broken.unknown or broken.refused:
                    raise refusals.unreachable(what, host, broken) from broken
                delay = None
            else:
                delay = refusals.retry_after(response)
                if response.status not in _RETRIED or attempt == limits.ATTEMPTS or (delay or 0) > limits.RETRY_AFTER_SECONDS:
                    return response
                response.close()
            _sleep(attempt, delay)
        raise AssertionError("unreachable")


def _sleep(attempt: int, delay: float | None) -> None:
    """As long as was asked for, else longer each time; never exactly as long as everyone else."""
    time.sleep((delay if delay is not None else 0.25 * 2**attempt) + random.uniform(0, 0.25))
