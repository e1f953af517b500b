"""How a registry wants to be asked: WWW-Authenticate challenges (RFC 9110 section 11.6.1) and the token protocol of docker's registries.

No input or output: `authorize` is a generator that yields the requests to be made and is sent their answers.
"""

from __future__ import annotations

import base64
import re
from urllib.parse import urlencode, urlsplit

from crate_engine import limits
from crate_engine.errors import AuthenticationRequired, ImageError, RegistryError
from crate_engine.oci.strict_json import parse
from crate_engine.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))\s*', re.ASCII)
_SCHEME = re.compile(rf"\s*({_TOKEN})(?:\s+|\s*$|\s*,)", re.ASCII)
_BEARER = re.compile(r"[A-Za-z0-9._~+/:=-]{1,65536}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Challenge:
    """`scheme` is in lower case, and so are the names of the parameters."""

    scheme: str
    parameters: dict[str, str] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one registry. `identity_token` is an OAuth2 refresh token, which some registries give instead of a password."""

    username: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of an Authorization header."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode("ascii")

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, …)"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """GET when `form` is empty, else POST. `authorization` is the header to send, to this address only."""

    url: str
    authorization: str = ""
    form: str = ""

    def __repr__(self) -> str:
        return f"TokenRequest({self.url!r}, …)"


def parse_challenges(header: str) -> list[Challenge]:
    """All challenges of a WWW-Authenticate header; what cannot be read ends the list."""
    challenges = []
    at = 0
    while match := _SCHEME.match(header, at):
        scheme, at = match[1].lower(), match.end()
        parameters: dict[str, str] = {}
        while found := _PARAMETER.match(header, at):
            quoted = found[2]
            parameters.setdefault(found[1].lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else found[3])
            at = found.end()
            if header[at : at + 1] != ",":
                break
            at += 1
        challenges.append(Challenge(scheme, parameters))
    return challenges


def authorize(
    host: str, challenges: list[Challenge], scope: str, credentials: Credentials | None, *, insecure: bool
) -> Generator[TokenRequest, bytes, str]:
    """Returns the value of the Authorization header that answers the challenges of `host` for `scope` (`repository:library/nginx:pull`;
    several with spaces between them, or none).

    `insecure`: the registry itself is spoken to in plain http, so its token service may be too. Raises AuthenticationRequired, RegistryError.
    """
    by_scheme = {challenge.scheme: challenge for challenge in reversed(challenges)}
    if "bearer" in by_scheme:
        return (yield from _bearer(host, by_scheme["bearer"].parameters, scope, credentials, insecure=insecure))
    if "basic" in by_scheme:
        if credentials is None or not credentials.username:
            raise login_required(host)
        return credentials.basic
    names = ", ".join(sorted(by_scheme)) or "none"
    raise RegistryError(f"log in to {host}: the registry offers no way to log in that is supported (offered: {names[:200]})")


def login_required(host: str, cause: str = "the registry wants a login, and there is none for it") -> AuthenticationRequired:
    return AuthenticationRequired(f"log in to {host}: {cause}", hint=f"crate login {host}")


def _bearer(
    host: str, parameters: dict[str, str], scope: str, credentials: Credentials | None, *, insecure: bool
) -> Generator[TokenRequest, bytes, str]:
    realm = parameters.get("realm", "")
    if not _acceptable(realm, insecure=insecure):
        raise RegistryError(
            f"log in to {host}: the registry names the token service {realm[:200]!r}, which is not an https address"
        )
    query = {"service": parameters["service"]} if "service" in parameters else {}
    if credentials is not None and credentials.identity_token:
        form = urlencode(
            {
                "grant_type": "refresh_token",
                "refresh_token": credentials.identity_token,
                "client_id": "crate",
                **query,
                **({"scope": scope} if scope else {}),
            }
        )
        answer = yield TokenRequest(realm, form=form)
    else:
        authorization = credentials.basic if credentials is not None and credentials.username else ""
        questions = urlencode([*query.items(), *(("scope", one) for one in scope.split())])
        separator = ("&" if "?" in realm else "?") if questions else ""
        answer = yield TokenRequest(f"{realm}{separator}{questions}", authorization)
    return "Bearer " + _token(host, answer)


def _acceptable(realm: str, *, insecure: bool) -> bool:
    if not realm.isascii() or not realm.isprintable() or " " in realm:
        return False
    try:
        parts = urlsplit(realm)
        _ = parts.port  # read for its error
    except ValueError:
        return False
    secure = parts.scheme == "https" or (insecure and parts.scheme == "http")
    return secure and bool(parts.hostname) and "@" not in parts.netloc and not parts.fragment


def _token(host: str, answer: bytes) -> str:
    try:
        document = parse(answer, f"token of {host}", limits.TOKEN_BYTES)
    except ImageError as error:
        raise RegistryError(str(error)) from None
    token = document.get("token") or document.get("access_token")
    if not isinstance(token, str) or not _BEARER.fullmatch(token):
        raise RegistryError(f"log in to {host}: the token service answered without a token")
    return token
