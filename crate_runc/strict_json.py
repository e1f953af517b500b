"""Read and write JSON (RFC 8259) strictly, through the C code behind the `json` module and without that module.

`import json` costs as much as everything else that `state` or `kill` do, because it loads `re`; it is imported here only to say where a text
that was already found wrong goes wrong. Refused: duplicate names, NaN and Infinity, text that is not UTF-8, lone surrogates and NUL
characters in strings (no path, argument or variable can hold them), documents nested too deeply or too long. A member whose value is null
is the same as no member, as for the Go programs that write config.json.
"""

from __future__ import annotations

import _json

from crate_runc.errors import RuncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

MAX_BYTES = 16 << 20
MAX_DEPTH = 64


class JSONError(RuncError):
    """The text says what is wrong and where, but not in which file."""


class _Context:
    """What `_json.make_scanner` asks for: the options of json.JSONDecoder, as attributes."""

    __slots__ = ("memo", "object_hook", "object_pairs_hook", "parse_constant", "parse_float", "parse_int", "strict")

    def __init__(self) -> None:
        self.strict = True
        self.object_hook = None
        self.object_pairs_hook = _object
        self.parse_float = float
        self.parse_int = int
        self.parse_constant = _constant
        self.memo: dict[str, str] = {}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise JSONError(f'the name "{name}" appears twice in one object')
            seen.add(name)
    if None in members.values():
        return {name: value for name, value in pairs if value is not None}
    return members


def _constant(text: str) -> NoReturn:
    raise JSONError(f"{text} is not a JSON number")


def loads(raw: bytes) -> Any:
    """Raises JSONError."""
    if len(raw) > MAX_BYTES:
        raise JSONError(f"longer than {MAX_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8").strip(" \t\r\n")
        value, end = _json.make_scanner(_Context())(text, 0)  # type: ignore[arg-type]  # typeshed asks for a scanner here
    except UnicodeDecodeError as error:
        raise JSONError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise JSONError(f"nested deeper than {MAX_DEPTH} levels") from None
    except (StopIteration, SystemError, ValueError):  # 3.11's scanner cannot make its own error before json is imported
        raise _located(raw) from None
    if end != len(text):
        raise _located(raw)
    if b"\\u" in raw or text.count("[") + text.count("{") > MAX_DEPTH:
        _check(value, 0)
    return value


def _check(value: Any, depth: int) -> None:
    """Depth and strings: only escapes can bring NUL and lone surrogates into text that was valid UTF-8."""
    if depth > MAX_DEPTH:
        raise JSONError(f"nested deeper than {MAX_DEPTH} levels")
    if type(value) is str:
        try:
            if b"\0" in value.encode():
                raise JSONError("a string contains a NUL character")
        except UnicodeEncodeError:
            raise JSONError("a string contains half of a surrogate pair") from None
    elif type(value) is dict:
        for name, item in value.items():
            _check(name, depth)
            _check(item, depth + 1)
    elif type(value) is list:
        for item in value:
            _check(item, depth + 1)


def _located(raw: bytes) -> JSONError:
    import json

    try:
        json.loads(raw.decode(), parse_constant=_constant)
    except json.JSONDecodeError as error:
        return JSONError(
            f"not JSON at line {error.lineno}, column {error.colno}: {error.msg[0].lower()}{error.msg[1:].removesuffix(' at')}"
        )
    except (ValueError, RecursionError) as error:
        return JSONError(f"not JSON: {error}")
    return JSONError("not JSON")


def dumps(value: Any) -> bytes:
    """Compact and ASCII. Raises TypeError for what JSON cannot hold."""
    encode = _json.make_encoder(None, _refuse, _json.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encode(value, 0)).encode("ascii")


def dumps_indented(value: Any, indent: str = "  ") -> str:
    """For people: one member or item per line; characters stay as they are, except control characters."""
    return "".join(_lines(value, indent, "\n"))


def _lines(value: Any, indent: str, newline: str) -> Iterator[str]:
    if value and type(value) in (dict, list, tuple):
        opening, closing = "{}" if type(value) is dict else "[]"
        inner = newline + indent
        separator = opening
        for item in value:
            yield separator + inner
            if type(value) is dict:
                yield _json.encode_basestring(item) + ": "
                yield from _lines(value[item], indent, inner)
            else:
                yield from _lines(item, indent, inner)
            separator = ","
        yield newline + closing
    else:
        yield _json.encode_basestring(value) if type(value) is str else dumps(value).decode("ascii")


def _refuse(value: object) -> NoReturn:
    raise TypeError(f"JSON cannot hold a {type(value).__name__}")
