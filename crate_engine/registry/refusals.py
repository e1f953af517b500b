"""What a registry's answer means where it is no success: one line that says who answered what, and the next step (distribution-spec, *Error codes*)."""

from __future__ import annotations

import email.utils
import json
import time

from crate_engine import limits
from crate_engine.errors import (
    AuthenticationRequired,
    CrateError,
    ImageNotFound,
    RateLimited,
    RegistryError,
    RegistryUnreachable,
)
from crate_engine.registry.transport import Broken, read_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.registry.transport import Response

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_SHOWN = 300  # characters of what a registry says


def refusal(response: Response, what: str, registry: str, *, logged_in: bool = False) -> CrateError:
    """The error that a response means; reads the rest of it."""
    with response:
        said = _said(response)
    status = response.status
    if status == 404:
        return ImageNotFound(f"{what}: {registry} has no such image{said}", hint="check the name and the tag")
    if status == 429:
        return _rate_limited(response, what, registry, said, logged_in=logged_in)
    if status in (401, 403):
        return denied(what, registry, f" (status {status}){said}", logged_in=logged_in)
    after = _waiting(response) if status == 503 else ""
    return RegistryError(f"{what}: {registry} answered with status {status}{said}{after}")


def denied(what: str, registry: str, said: str, *, logged_in: bool) -> AuthenticationRequired:
    """Registries say the same of what is not there and of what is kept from the caller."""
    if logged_in:
        hint = f"check the name; this login may not do that, so log in as another user: crate login {registry}"
    else:
        hint = f"check the name, or log in: crate login {registry}"
    return AuthenticationRequired(f"{what}: {registry} denies access{said}", hint=hint)


def unreachable(what: str, registry: str, broken: Broken) -> RegistryUnreachable:
    hint = None
    if broken.certificate:
        hint = f"put its authority into /etc/containers/certs.d/{registry}/ca.crt, or list it as insecure in the settings"
    elif broken.refused:
        hint = "is it running, and the port right?"
    elif broken.unknown:
        hint = "check the name of the registry, and this host's name server"
    return RegistryUnreachable(f"{what}: {registry} cannot be reached: {broken}", hint=hint)


def retry_after(response: Response) -> float | None:
    """Seconds, from a number or a date (RFC 9110 section 10.2.3); None when the header is absent or makes no sense."""
    text = response.header("retry-after").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _rate_limited(response: Response, what: str, registry: str, said: str, *, logged_in: bool) -> RateLimited:
    """Docker Hub tells `ratelimit-limit: 100;w=21600` and `ratelimit-remaining`: how many in how many seconds."""
    limit, window = _quota(response.header("ratelimit-limit"))
    remaining, _ = _quota(response.header("ratelimit-remaining"))
    parts = []
    if limit:
        parts.append(f"{remaining or '0'} of {limit} requests remain" + (f" in {duration(float(window))}" if window else ""))
    elif remaining:
        parts.append(f"{remaining} requests remain")
    told = f" ({', '.join(parts)})" if parts else ""
    hint = "" if logged_in else f", or log in, which may allow more: crate login {registry}"
    delay = retry_after(response)
    wait = f"wait {duration(delay)}" if delay else "wait and try again"
    return RateLimited(f"{what}: {registry} refuses more requests for now{told}{said}", hint=wait + hint)


def _quota(text: str) -> tuple[str, str]:
    """`100;w=21600` → the number and the seconds of its window, empty where it is not such a text."""
    number, _, window = text.partition(";w=")
    return tuple(
        part if part.isascii() and part.isdigit() and len(part) < 10 else "" for part in (number.strip(), window.strip())
    )  # type: ignore[return-value]


def _waiting(response: Response) -> str:
    delay = retry_after(response)
    return f"; it asks to wait {duration(delay)}" if delay else ""


def duration(seconds: float) -> str:
    """Roughly, in words: `6 hours`."""
    length, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    count = max(1, round(seconds / length))
    return f"{count} {unit}{'s' if count != 1 else ''}"


def _said(response: Response) -> str:
    """The first message of the distribution-spec's error document, made printable; empty when there is none."""
    try:
        document = json.loads(read_all(response, limits.ERROR_BYTES) or b"")
        message = str(document["errors"][0]["message"])[:_SHOWN]
    except Exception:  # whatever it says instead, the status has been understood
        return ""
    return ": " + "".join(character if character.isprintable() else " " for character in message)
