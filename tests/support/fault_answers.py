"""Faults of answers: statuses, Retry-After, logins in the middle of a pull, parts, redirects, and headers that lie."""

from __future__ import annotations

import email.utils
import time

from tests.support.faulty import BABBLE, Act, Place, Table

TABLE = Table()
fault, simple = TABLE.fault, TABLE.simple

# statuses


def _answer_with(status: str) -> Act:
    return lambda place: place.status(status)


for _status in (
    "500 Internal Server Error",
    "502 Bad Gateway",
    "503 Service Unavailable",
    "504 Gateway Timeout",
    "408 Request Timeout",
):
    simple(_status, _answer_with(_status), "RegistryError")
    simple(f"{_status}, once", _answer_with(_status), "", passing=True)
for _status in (
    "204 No Content",
    "205 Reset Content",
    "203 Non-Authoritative",
    "226 IM Used",
    "300 Multiple Choices",
    "304 Not Modified",
):
    simple(
        _status,
        _answer_with(_status),
        "RegistryError",
        "RegistryUnreachable",
        "DigestMismatch",
        "ImageError",
    )
for _status in (
    "400 Bad Request",
    "405 Method Not Allowed",
    "410 Gone",
    "418 I'm a teapot",
    "451 Unavailable For Legal Reasons",
    "501 Not Implemented",
    "599 What",
):
    simple(_status, _answer_with(_status), "RegistryError")
simple("404 Not Found", lambda at: at.status("404 Not Found"), "ImageNotFound")
simple("401 without a challenge", lambda at: at.status("401 Unauthorized"), "AuthenticationRequired", "RegistryError")
simple(
    "401 with nonsense",
    lambda at: at.status("401 Unauthorized", WWW_Authenticate="Bearer realm=,=,"),
    "AuthenticationRequired",
    "RegistryError",
)
simple(
    "401 with an address that is none",
    lambda at: at.status("401 Unauthorized", WWW_Authenticate='Bearer realm="https://[::1/"'),
    "AuthenticationRequired",
    "RegistryError",
)
simple("403 Forbidden", lambda at: at.status("403 Forbidden"), "AuthenticationRequired")
_LATER = email.utils.formatdate(time.time() + 7200, usegmt=True)
_EARLIER = email.utils.formatdate(time.time() - 7200, usegmt=True)
for _text in ("0", "1", _EARLIER, "-1", "1.5", "soon", "", "Mon, 99 Foo 2024 99:99:99 GMT", "٣"):

    def _wait(place: Place, text: str = _text) -> None:
        place.send(b"429 Too Many Requests\nContent-Length: 0\nRetry-After: " + text.encode(), close=False)

    simple(f"429, once, to be tried after {_text!r}", _wait, "", passing=True)
for _text in ("0", _LATER, "3600", "1" * 30, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -9999"):

    def _wait_long(place: Place, text: str = _text) -> None:
        place.status("429 Too Many Requests", Retry_After=text)

    simple(f"429, to be tried after {_text if _text != _LATER else 'two hours'!r}", _wait_long, "RateLimited")
simple("503, to be tried after an hour", lambda at: at.status("503 Busy", Retry_After="3600"), "RegistryError")

# logins in the middle


@fault("401 in the middle: the token has expired", "")
def _(place: Place) -> None:
    """A new token for each request; the old one counts no more."""
    if place.request.headers.get("Authorization") != f"Bearer token{place.server.tokens}" or place.count == 3:
        realm = f'Bearer realm="http://{place.server.host}/token",service="s"'
        place.status("401 Unauthorized", WWW_Authenticate=realm)
    elif place.count < 3 and len(place.content) > 500 and place.offset == 0:
        place.cut(len(place.content) // 2)
    elif place.offset:
        place.part(place.offset, f"bytes {place.offset}-{len(place.content) - 1}/{len(place.content)}")
    else:
        place.whole()


# parts

_AGAIN = ("RegistryError", "RegistryUnreachable", "DigestMismatch")


def _after_a_cut(act: Act) -> Act:
    def fault(place: Place) -> None:
        if place.offset == 0:
            place.cut(len(place.content) // 2) if place.count == 1 else place.whole()
        else:
            act(place)

    return fault


def _parts(name: str, act: Act, *ends: str) -> None:
    simple(f"after a cut, {name}", _after_a_cut(act), *(ends or _AGAIN), layers_only=True)


_parts("the rest", lambda at: at.part(at.offset, f"bytes {at.offset}-{len(at.content) - 1}/{len(at.content)}"), "")
_parts("the rest of an unknown size", lambda at: at.part(at.offset, f"bytes {at.offset}-{len(at.content) - 1}/*"), "")
_parts("all", lambda at: at.whole(), "")
_parts("all, said to be a part", lambda at: at.part(0, f"bytes 0-{len(at.content) - 1}/{len(at.content)}", "206 Partial Content"))
_parts(
    "a part from one byte later",
    lambda at: at.part(at.offset + 1, f"bytes {at.offset + 1}-{len(at.content) - 1}/{len(at.content)}"),
)
_parts(
    "a part that lies about its beginning",
    lambda at: at.part(at.offset + 1, f"bytes {at.offset}-{len(at.content) - 1}/{len(at.content)}"),
)
_parts(
    "a part of something larger", lambda at: at.part(at.offset, f"bytes {at.offset}-{len(at.content) - 1}/{10 * len(at.content)}")
)
_parts("a part in other units", lambda at: at.part(at.offset, f"lines {at.offset}-9/10"))
_parts(
    "a part without a range",
    lambda at: at.send(
        f"206 Partial Content\nContent-Length: {len(at.content) - at.offset}", at.content[at.offset :], close=False
    ),
)
_parts(
    "several parts",
    lambda at: at.send(
        "206 Partial Content\nContent-Type: multipart/byteranges; boundary=x\nContent-Length: 9", b"--x\r\n\r\n--", close=False
    ),
)
_parts("a refusal of ranges", lambda at: at.status("416 Range Not Satisfiable") if at.offset else at.whole(), "", *_AGAIN)
simple("a part though all was asked for", lambda at: at.part(0, f"bytes 0-{len(at.content) - 1}/{len(at.content)}"), "", *_AGAIN)
_parts(
    "the rest as an empty part", lambda at: at.part(len(at.content), f"bytes {at.offset}-{len(at.content) - 1}/{len(at.content)}")
)

# redirects

simple("a redirect to nowhere", lambda at: at.status("307 Temporary Redirect", Location="http://127.0.0.1:1/x"), *BABBLE)
simple("a redirect without a target", lambda at: at.status("307 Temporary Redirect"), "RegistryError")
simple("a redirect to itself", lambda at: at.status("307 Temporary Redirect", Location=at.request.path), "RegistryError")
simple("a redirect to no address", lambda at: at.status("302 Found", Location="http://[::1"), *BABBLE)
simple("a redirect to a file", lambda at: at.status("302 Found", Location="file:///etc/passwd"), "RegistryError")
simple(
    "a redirect with a line break",
    lambda at: at.status("302 Found", Location="/x%0d%0aHost:%20y"),
    "ImageNotFound",
    "RegistryError",
)
simple("a redirect to a strange port", lambda at: at.status("302 Found", Location="http://127.0.0.1:99999/"), "RegistryError")


@fault("an expired address, once", "", *("AuthenticationRequired",))
def _(place: Place) -> None:
    """A signed address that was good for a moment: the registry gives a new one when it is asked again."""
    place.status("307 Temporary Redirect", Location=f"/signed/{'old' if place.count == 1 else 'new'}{place.request.path}")


# what headers say of the content

simple("a digest of something else", lambda at: at.whole(Docker_Content_Digest="sha256:" + "0" * 64), "", "DigestMismatch")
simple("a digest that is none", lambda at: at.whole(Docker_Content_Digest="sha256:../../x"), "", "DigestMismatch")
simple("a digest of another kind", lambda at: at.whole(Docker_Content_Digest="md5:x"), "")
simple("a cookie", lambda at: at.whole(Set_Cookie="a=b"), "")
