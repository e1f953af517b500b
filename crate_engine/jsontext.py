"""JSON through the C half of the standard library's json package (RFC 8259), for processes to which importing `json` itself costs too much.

`import json` takes as long as starting a container's mounts, because of its import of `re`; what is used here is a built-in module.
Not for documents of others: those are read by strict parsers with limits (duplicate keys and NaN pass here).
"""

from __future__ import annotations

import _json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Scanning:
    """The attributes that the C scanner reads from a decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = None
    memo: dict[str, str] = {}


def loads(text: str) -> Any:
    """One JSON value; raises ValueError where the text is not JSON or has something after the value."""
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = _json.make_scanner(_Scanning)(text, start)  # type: ignore[arg-type]
    except (StopIteration, SystemError) as error:
        # SystemError: the scanner means to raise json.JSONDecodeError, but `json` is not imported.
        raise ValueError("not JSON") from error
    if text[end:].strip(" \t\r\n"):
        raise ValueError("text after the JSON value")
    return value


def dumps(value: object) -> str:
    """Compact, ASCII only: lone surrogates, which stand for bytes that are not UTF-8, survive as escapes."""
    encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encode(value, 0))


def quote(text: str) -> str:
    quoted: str = _json.encode_basestring_ascii(text)
    return quoted


def _refuse(value: object) -> object:
    raise TypeError(f"{type(value).__name__} has no JSON form")
