"""Values in GVariant's text format, as the annotations `org.systemd.property.NAME` carry them (GLib, "GVariant Text Format"). Pure.

Known are booleans, numbers, strings and arrays, each with a type before it or the one that its form says: that is every type of systemd's
properties that runc and crun set in this way. `uint64 30000000`, `'text'`, `['a', 'b']`, `@as []`, `true`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Variant = tuple[str, Any]  # signature, value

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {"y": (0, 8), "n": (1, 16), "q": (0, 16), "i": (1, 32), "u": (0, 32), "x": (1, 64), "t": (0, 64)}  # is it signed, bits
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_WORD_ENDS = frozenset(" \t\n,[]'\"")


class VariantError(ValueError):
    pass


def parse(text: str) -> Variant:
    """Raises VariantError."""
    reader = _Reader(text)
    value = reader.value("")
    reader.skip_space()
    if not reader.ended:
        raise VariantError(f"unexpected {reader.rest!r} after the value")
    return value


class _Reader:
    __slots__ = ("_at", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def rest(self) -> str:
        return self._text[self._at :]

    @property
    def ended(self) -> bool:
        return self._at >= len(self._text)

    def skip_space(self) -> None:
        while not self.ended and self._text[self._at] in " \t\n":
            self._at += 1

    def value(self, wanted: str) -> Variant:
        """`wanted` is the signature it must have, "" for the one that its form says."""
        self.skip_space()
        if self.ended:
            raise VariantError("a value is missing")
        first = self._text[self._at]
        if first in "'\"":
            return self._typed(wanted or "s", self._string(first), ("s", "o", "g"))
        if first == "[":
            return self._array(wanted)
        word = self._word()
        if word.startswith("@"):
            return self.value(_agreed(wanted, word[1:]))
        if word in _KEYWORDS:
            return self.value(_agreed(wanted, _KEYWORDS[word]))
        if word in ("true", "false"):
            return self._typed(wanted or "b", word == "true", ("b",))
        return _number(word, wanted)

    def _typed(self, signature: str, value: Any, allowed: tuple[str, ...]) -> Variant:
        if signature not in allowed:
            raise VariantError(f"{value!r} is not of type {signature}")
        return signature, value

    def _word(self) -> str:
        start = self._at
        while not self.ended and self._text[self._at] not in _WORD_ENDS:
            self._at += 1
        if start == self._at:
            raise VariantError(f"unexpected {self._text[start]!r}")
        return self._text[start : self._at]

    def _string(self, quote: str) -> str:
        letters: list[str] = []
        self._at += 1
        while not self.ended:
            letter = self._text[self._at]
            self._at += 1
            if letter == quote:
                return "".join(letters)
            if letter == "\\" and not self.ended:
                letter = _ESCAPES.get(self._text[self._at], self._text[self._at])
                self._at += 1
            letters.append(letter)
        raise VariantError("a string without an end")

    def _array(self, wanted: str) -> Variant:
        if wanted and not wanted.startswith("a"):
            raise VariantError(f"an array is not of type {wanted}")
        element = wanted[1:]
        items: list[Any] = []
        self._at += 1
        while True:
            self.skip_space()
            if self.rest.startswith("]") and not items:
                break
            element, value = self.value(element)
            items.append(value)
            self.skip_space()
            if self.rest.startswith("]"):
                break
            if not self.rest.startswith(","):
                raise VariantError("an array without an end")
            self._at += 1
        self._at += 1
        if not element:
            raise VariantError("an empty array needs its type before it, like @as []")
        return f"a{element}", items


def _agreed(wanted: str, given: str) -> str:
    if not given or (wanted and given != wanted):
        raise VariantError(f"type {given or 'missing'} where {wanted or 'one'} is expected")
    return given


def _number(word: str, wanted: str) -> Variant:
    signature = wanted or ("d" if "." in word else "i")
    try:
        if signature == "d":
            return signature, float(word)
        value = int(word, 0)
    except ValueError:
        raise VariantError(f"{word!r} is no value") from None
    if signature not in _RANGES:
        raise VariantError(f"{word} is not of type {signature}")
    signed, bits = _RANGES[signature]
    if not -(signed << bits - 1) <= value < 1 << bits - signed:
        raise VariantError(f"{word} does not fit type {signature}")
    return signature, value
