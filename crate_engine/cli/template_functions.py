"""The functions that templates may call (Go's text/template and fmt, and docker's own), and how Go prints values. Pure."""

from __future__ import annotations

import json as _json
import re

from crate_engine.cli.render import display, json_safe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_VERB = re.compile(r"%(?P<flags>[-+# 0]*)(?P<width>[0-9]{0,3})(?:\.(?P<digits>[0-9]{1,3}))?(?P<verb>.?)", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_LONGEST = 1 << 16
"""Characters of a field that pad makes."""


class Map(dict[str, "Any"]):
    """A mapping with keys of somebody's choice, as labels: a key that is not there has no value, which is no error."""


class Refused(Exception):
    """A function cannot take what it was given."""


class _Constant:
    def __repr__(self) -> str:
        return "<no value>"


NO_VALUE, INVALID = _Constant(), _Constant()


def kind(value: object) -> str:
    """What a value is, for error messages."""
    if value is None or value is NO_VALUE:
        return "nothing"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a text", int: "a number", float: "a number", list: "a list", tuple: "a list"}
    return names.get(type(value), "a structure" if isinstance(value, dict) and not isinstance(value, Map) else "a map")


def truth(value: object) -> bool:
    """Go's: what is empty, zero or nothing is false."""
    return value is not NO_VALUE and bool(value)


def shown(value: Any) -> str:
    """What an action prints. Control characters that a value brings are escaped, but for tabs and ends of lines."""
    text = "<no value>" if value is None else go(value)
    return "\n".join("\t".join(map(display, line.split("\t"))) for line in text.split("\n"))


def go(value: Any) -> str:
    """As fmt's %v prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{' '.join(map(go, value))}]"
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go(value[key])}' for key in sorted(value) if not callable(value[key]))}]"
    return repr(value)


def pairs(value: Any) -> list[tuple[Any, Any]] | None:
    """What range goes over: indexes or sorted keys with their values; None where it cannot."""
    if value is None or value is NO_VALUE:
        return []
    if isinstance(value, dict):
        return [(key, value[key]) for key in sorted(value) if not callable(value[key])]
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool) and value < _LONGEST:
        return [(number, number) for number in range(value)]
    return None


def literal(kind: str, text: str) -> Any:
    """The value of a constant in a template, INVALID where Go would not take it."""
    if kind == "number":
        return float(text) if "." in text else int(text)
    if kind == "raw":
        return text[1:-1]
    if kind == "name":
        return {"true": True, "false": False, "nil": None}[text]
    unknown = [match for match in _ESCAPE.finditer(text[1:-1]) if match[5] and match[5] not in _SIMPLE]
    if unknown:
        return INVALID
    plain = _ESCAPE.sub(_unescaped, text[1:-1])
    return ord(plain) if kind == "char" else plain


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code or match[4]:
        number = int(code, 16) if code else int(match[4], 8)
        return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
    return _SIMPLE[match[5]]


# Functions


def json(value: Any) -> str:
    return json_safe(_json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        keys = sorted(value) if isinstance(value, Map) else value
        return {key: _plain(value[key]) for key in keys if not callable(value[key])}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if value is NO_VALUE else value


def split(text: Any, separator: Any) -> list[str]:
    return list(_text(text)) if _text(separator) == "" else _text(text).split(separator)


def join(items: Any, separator: Any) -> str:
    if items is None or items is NO_VALUE:
        return ""
    if not isinstance(items, (list, tuple)):
        raise Refused(f"{kind(items)} is no list")
    return _text(separator).join(map(go, items))


def title(text: Any) -> str:
    return re.sub(r"(?<!\w)\w", lambda match: match[0].upper(), _text(text))


def pad(text: Any, before: Any, after: Any) -> str:
    counts = [_number(count) for count in (before, after)]
    if max(counts) > _LONGEST:
        raise Refused(f"more than {_LONGEST} spaces")
    return " " * counts[0] + _text(text) + " " * counts[1] if _text(text) else ""


def truncate(text: Any, length: Any) -> str:
    return _text(text)[: max(_number(length), 0)]


def size(value: Any) -> int:
    if not isinstance(value, (str, list, tuple, dict)):
        raise Refused(f"{kind(value)} has no length")
    return len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else len(value)


def index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(_text(key), "" if isinstance(value, Map) else NO_VALUE)
        elif isinstance(value, (list, tuple, str)):
            place = _number(key)
            if not 0 <= place < len(value):
                raise Refused(f"there is no element {place} of {len(value)}")
            value = ord(value[place]) if isinstance(value, str) else value[place]
        else:
            raise Refused(f"{kind(value)} has no elements")
    return value


def part(value: Any, *bounds: Any) -> Any:
    if not isinstance(value, (str, list, tuple)) or len(bounds) > 2:
        raise Refused(f"{kind(value)} has no parts" if len(bounds) <= 2 else "takes two bounds at most")
    start, end = (*map(_number, bounds), *(0, len(value))[len(bounds) :])
    if not 0 <= start <= end <= len(value):
        raise Refused(f"there is no part from {start} to {end} of {len(value)}")
    return value[start:end]


def equal(first: Any, *others: Any) -> bool:
    if not others:
        raise Refused("takes at least two arguments")
    return any(_same(first, other) for other in others)


def _same(first: Any, other: Any) -> bool:
    if first is not None and other is not None and _class(first) != _class(other):
        raise Refused(f"{kind(first)} cannot be compared with {kind(other)}")
    return bool(first == other)


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(first: Any, second: Any) -> bool:
        if _class(first) != _class(second) or _class(first) not in ("string", "number"):
            raise Refused(f"{kind(first)} cannot be compared with {kind(second)}")
        return test(first, second)

    return compare


def _class(value: Any) -> str:
    """What can be compared with each other."""
    return "number" if _type(value) in ("int", "float64") else _type(value)


def _type(value: Any) -> str:
    """Go's name of the type."""
    names = {str: "string", bool: "bool", int: "int", float: "float64"}
    return names.get(type(value), "map" if isinstance(value, dict) else "slice")


def either(values: Iterable[Any]) -> Any:
    """The first that is true, else the last; the others are not asked for."""
    return _first(values, True)


def both(values: Iterable[Any]) -> Any:
    return _first(values, False)


def _first(values: Iterable[Any], wanted: bool) -> Any:
    last: Any = INVALID
    for last in values:
        if truth(last) == wanted:
            return last
    if last is INVALID:
        raise Refused("takes at least one argument")
    return last


def printed(*values: Any) -> str:
    """Go's print: a space between two values of which neither is a text."""
    text = ""
    for place, value in enumerate(values):
        text += " " if place and not isinstance(value, str) and not isinstance(values[place - 1], str) else ""
        text += go(value)
    return text


def formatted(form: Any, *values: Any) -> str:
    """Go's printf, for the verbs v s d t q x X f c and %%."""
    left = list(values)

    def one(match: re.Match[str]) -> str:
        if match["verb"] == "%":
            return "%"
        if not left:
            return f"%!{match['verb']}(MISSING)"
        return _padded(_verb(match["verb"], match["flags"], match["digits"], left.pop(0)), match["flags"], match["width"])

    text = _VERB.sub(one, _text(form))
    return text + (f"%!(EXTRA {', '.join(f'{_type(value)}={go(value)}' for value in left)})" if left else "")


def _verb(verb: str, flags: str, digits: str | None, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if verb == "v" or (verb == "s" and not number) or (verb == "t" and isinstance(value, bool)):
        text = go(value)
        return text[: int(digits)] if digits and verb == "s" else text
    if verb == "q" and isinstance(value, str):
        return _json.dumps(value, ensure_ascii=False)
    if verb == "d" and isinstance(value, int):
        return f"{value:+d}" if "+" in flags else str(value)
    if verb in ("x", "X") and isinstance(value, (int, str)):
        return (
            f"{value:{verb}}" if isinstance(value, int) else getattr(value.encode().hex(), "upper" if verb == "X" else "lower")()
        )
    if verb == "f" and number:
        return f"{value:.{digits or 6}f}"
    if verb == "c" and isinstance(value, int) and 0 <= value < 0x110000:
        return chr(value)
    return f"%!{verb}({_type(value)}={go(value)})"


def _padded(text: str, flags: str, width: str) -> str:
    wide = int(width or 0)
    if "-" in flags:
        return text.ljust(wide)
    return text.zfill(wide) if "0" in flags and text.lstrip("+-").isdigit() else text.rjust(wide)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused(f"{kind(value)} is no text")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(f"{kind(value)} is no whole number")
    return value


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "and": both,
    "eq": equal,
    "ge": _compare(lambda first, second: first >= second),
    "gt": _compare(lambda first, second: first > second),
    "index": index,
    "join": join,
    "json": json,
    "le": _compare(lambda first, second: first <= second),
    "len": size,
    "lower": lambda text: _text(text).lower(),
    "lt": _compare(lambda first, second: first < second),
    "ne": lambda first, second: not _same(first, second),
    "not": lambda value: not truth(value),
    "or": either,
    "pad": pad,
    "print": printed,
    "printf": formatted,
    "println": lambda *values: " ".join(map(go, values)) + "\n",
    "slice": part,
    "split": split,
    "title": title,
    "truncate": truncate,
    "upper": lambda text: _text(text).upper(),
}
HEADINGS = FUNCTIONS | dict.fromkeys(
    ("json", "join", "lower", "pad", "split", "title", "truncate", "upper"), lambda text, *_: text
)
"""For the heads of a table: what changes values leaves their names alone."""
