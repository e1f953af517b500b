"""The one reader of JSON that others wrote: RFC 8259 with a single meaning per document, and typed access to its fields.

Go's decoder, which most registries and engines use, matches field names without regard to case and lets the last duplicate win; a document
that two readers would understand differently is refused (CVE-2021-41190). Unknown fields are ignored, as the image specification asks.
"""

from __future__ import annotations

import json
import math

from crate_engine import limits
from crate_engine.errors import ImageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


def parse(raw: bytes, what: str, limit: int = limits.MANIFEST_BYTES) -> dict[str, Any]:
    """The object that `raw` holds; `what` names the document in messages. Raises ImageError."""
    if len(raw) > limit:
        raise ImageError(f"read {what}: {len(raw)} bytes are more than the {limit} allowed")
    try:
        document = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
    except UnicodeDecodeError:
        raise ImageError(f"read {what}: it is not UTF-8") from None
    except RecursionError:
        raise ImageError(f"read {what}: it is nested deeper than {limits.JSON_DEPTH} levels") from None
    except ValueError as error:
        raise ImageError(f"read {what}: {error}") from None
    if not isinstance(document, dict):
        raise ImageError(f"read {what}: it is no JSON object")
    if _deeper_than(document, limits.JSON_DEPTH):
        raise ImageError(f"read {what}: it is nested deeper than {limits.JSON_DEPTH} levels")
    return document


def dump(document: dict[str, Any]) -> bytes:
    """Compact UTF-8 in the order given."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def shown(text: str, most: int = 64) -> str:
    """A text of a document as messages have it: on one line, and not endless."""
    text = text[:most]
    return text if text.isprintable() else repr(text)[1:-1]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        name = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {name[:64]!r} occurs twice in one object")
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > 20 or abs(value := int(text)) > limits.JSON_INTEGER:
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:20]} is out of range")
    return value


def _deeper_than(document: object, depth: int) -> bool:
    level = [document]
    for _ in range(depth):
        level = [child for node in level for child in _children(node)]
        if not level:
            return False
    return True


def _children(node: object) -> list[Any]:
    values = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [value for value in values if isinstance(value, (dict, list))]


_FOLDED: dict[frozenset[str], frozenset[str]] = {}


def _folded(known: frozenset[str]) -> frozenset[str]:
    """Made once: index.json has an object of the same fields for every image."""
    if known not in _FOLDED:
        _FOLDED[known] = frozenset(name.casefold() for name in known)
    return _FOLDED[known]


class Fields:
    """Typed reading of one object's known fields; every wrong type is an ImageError with the place in it. null counts as absent."""

    __slots__ = ("_object", "_where")

    def __init__(self, document: object, where: str, known: frozenset[str]) -> None:
        """`known` are all the field names that this object has a meaning for; `where` is its place, like `manifest: layers[2]`."""
        if not isinstance(document, dict):
            raise ImageError(f"{where}: must be an object")
        for name in document:
            if name not in known and name.casefold() in _folded(known):
                raise ImageError(f"{where}: the field {name[:64]!r} differs only in case from a known one")
        self._object = document
        self._where = where

    def wrong(self, name: str, cause: str) -> ImageError:
        return ImageError(f"{self._where}.{name}: {cause}")

    def has(self, name: str) -> bool:
        return self._object.get(name) is not None

    def _typed(self, name: str, kind: type, called: str, required: bool) -> Any:
        value = self._object.get(name)
        if value is None:
            if required:
                raise self.wrong(name, "is missing")
            return None
        # bool is a subclass of int
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.wrong(name, f"must be {called}")
        return value

    def text(self, name: str, *, required: bool = False, limit: int = limits.CONFIG_TEXT) -> str:
        """Empty when absent. Without NUL, as such a text could not be passed on to the kernel."""
        value = self._typed(name, str, "a text", required) or ""
        self._check_text(name, value, limit)
        return str(value)

    def integer(self, name: str, *, required: bool = False, least: int = 0) -> int | None:
        value: int | None = self._typed(name, int, "a whole number", required)
        if value is not None and value < least:
            raise self.wrong(name, f"must not be less than {least}")
        return value

    def array(self, name: str, *, required: bool = False, limit: int = limits.CONFIG_LIST) -> list[Any]:
        value: list[Any] = self._typed(name, list, "a list", required) or []
        if len(value) > limit:
            raise self.wrong(name, f"has {len(value)} entries, more than the {limit} allowed")
        return value

    def members(self, name: str, *, required: bool = False, limit: int = limits.CONFIG_LIST) -> dict[str, Any]:
        value: dict[str, Any] = self._typed(name, dict, "an object", required) or {}
        if len(value) > limit:
            raise self.wrong(name, f"has {len(value)} entries, more than the {limit} allowed")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.array(name)
        for index, value in enumerate(values):
            self._check_text(f"{name}[{index}]", value, limits.CONFIG_TEXT)
        return tuple(values)

    def keys(self, name: str) -> tuple[str, ...]:
        """The names of an object used as a set (`{"80/tcp": {}}`)."""
        values = self.members(name)
        for key in values:
            self._check_text(name, key, limits.CONFIG_TEXT)
        return tuple(values)

    def mapping(self, name: str) -> dict[str, str]:
        values = self.members(name)
        for key, value in values.items():
            self._check_text(name, key, limits.CONFIG_TEXT)
            if not (isinstance(value, str) and value.isascii() and len(value) <= limits.CONFIG_TEXT and "\0" not in value):
                self._check_text(f"{name}.{shown(key)}", value, limits.CONFIG_TEXT)  # the name is only made where it is needed
        return dict(values)

    def _check_text(self, name: str, value: object, limit: int) -> None:
        if not isinstance(value, str):
            raise self.wrong(name, "must be a text")
        if "\0" in value:
            raise self.wrong(name, "must not contain NUL")
        if len(value) > limit:
            raise self.wrong(name, f"is longer than {limit} characters")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise self.wrong(name, "contains half a surrogate pair")
