"""D-Bus messages as bytes: D-Bus specification 0.43, "Type system", "Marshaling" and "Message protocol". Pure.

A value of type `v` is a pair (signature, value), an array a list, a struct and a dict entry a tuple. File descriptors are not carried.
"""

from __future__ import annotations

import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE = range(1, 9)
FIELD_TYPES = {
    PATH: "o",
    INTERFACE: "s",
    MEMBER: "s",
    ERROR_NAME: "s",
    REPLY_SERIAL: "u",
    DESTINATION: "s",
    SENDER: "s",
    SIGNATURE: "g",
}
FIXED_HEADER = 16
"""Bytes: up to and with the length of the field array, which is all that `length` needs."""

_SCALARS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNMENT = {"y": 1, "n": 2, "q": 2, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8, "g": 1, "v": 1}  # all others 4
_CLOSING = {"(": ")", "{": "}"}
_LIMIT = 1 << 24
_ORDER = {"l": "<", "B": ">"}
_OWN_ORDER = "l" if sys.byteorder == "little" else "B"


class WireError(Exception):
    """The bytes are no message that we read, or the value is none of the signature's."""


class Message:
    __slots__ = ("body", "fields", "type")

    def __init__(self, type: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.type = type
        self.fields = fields
        self.body = body


def split(signature: str) -> list[str]:
    """`a(sv)us` → [`a(sv)`, `u`, `s`]."""
    types = []
    at = 0
    while at < len(signature):
        end = _end_of_type(signature, at)
        types.append(signature[at:end])
        at = end
    return types


def _end_of_type(signature: str, at: int) -> int:
    while signature[at : at + 1] == "a":
        at += 1
    letter = signature[at : at + 1]
    if letter in _SCALARS or letter in ("s", "o", "g", "v"):
        return at + 1
    if letter not in _CLOSING or not letter:
        raise WireError(f"signature {signature!r}: unknown type at {at}")
    inner = at + 1
    while signature[inner : inner + 1] != _CLOSING[letter]:
        inner = _end_of_type(signature, inner)
    return inner + 1


def call(serial: int, fields: dict[int, Any], signature: str, values: tuple[Any, ...]) -> bytes:
    """A method call; `fields` are PATH, MEMBER and so on."""
    body = encode(signature, values)
    if signature:
        fields = {**fields, SIGNATURE: signature}
    listed = [(code, (FIELD_TYPES[code], value)) for code, value in fields.items()]
    head = encode("yyyyuua(yv)", (ord(_OWN_ORDER), CALL, 0, 1, len(body), serial, listed))
    return head + b"\0" * (-len(head) % 8) + body


def length(head: bytes) -> int:
    """How long the message is that begins with these FIXED_HEADER bytes. Raises WireError."""
    order = _ORDER.get(chr(head[0]))
    if order is None or head[3] != 1:
        raise WireError("not a D-Bus message")
    body, _, fields = struct.unpack_from(f"{order}III", head, 4)
    if body > _LIMIT or fields > _LIMIT:
        raise WireError(f"message of {body + fields} bytes")
    return FIXED_HEADER + int(fields) + -int(fields) % 8 + int(body)


def parse(raw: bytes) -> Message:
    """A whole message. Raises WireError."""
    try:
        reader = _Reader(raw, _ORDER[chr(raw[0])])
        _, kind, _, _, _, _, listed = (reader.take(one) for one in split("yyyyuua(yv)"))
        fields = dict(listed)
        reader.align(8)
        return Message(kind, fields, [reader.take(one) for one in split(fields.get(SIGNATURE, ""))])
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise WireError(f"damaged message: {error}") from None


def encode(signature: str, values: tuple[Any, ...]) -> bytes:
    """Raises WireError for a value that is not of its type."""
    out = bytearray()
    try:
        for one, value in zip(split(signature), values, strict=True):
            _put(out, one, value)
    except (struct.error, TypeError, ValueError, AttributeError) as error:
        raise WireError(f"{values!r} is no {signature!r}: {error}") from None
    return bytes(out)


def _pad(out: bytearray, kind: str) -> None:
    out += b"\0" * (-len(out) % _ALIGNMENT.get(kind[0], 4))


def _put(out: bytearray, kind: str, value: Any) -> None:
    first = kind[0]
    _pad(out, kind)
    if first in _SCALARS:
        out += struct.pack("=" + _SCALARS[first], value)
    elif first in ("s", "o", "g"):
        text = value.encode("utf-8", "surrogateescape")
        if b"\0" in text:
            raise ValueError("a zero byte in a text")
        out += struct.pack("=B" if first == "g" else "=I", len(text)) + text + b"\0"
    elif first == "v":
        signature, inner = value
        _put(out, "g", signature)
        _put(out, signature, inner)
    elif first == "a":
        _put_array(out, kind[1:], value)
    else:
        for one, item in zip(split(kind[1:-1]), value, strict=True):
            _put(out, one, item)


def _put_array(out: bytearray, kind: str, items: Any) -> None:
    place = len(out)
    out += b"\0\0\0\0"
    _pad(out, kind)  # which is no part of the length
    start = len(out)
    for item in items:
        _put(out, kind, item)
    struct.pack_into("=I", out, place, len(out) - start)


class _Reader:
    __slots__ = ("_at", "_order", "_raw")

    def __init__(self, raw: bytes, order: str) -> None:
        self._raw = raw
        self._order = order
        self._at = 0

    def align(self, size: int) -> None:
        self._at += -self._at % size

    def take(self, kind: str) -> Any:
        first = kind[0]
        self.align(_ALIGNMENT.get(first, 4))
        if first in _SCALARS:
            return bool(self._number("I")) if first == "b" else self._number(_SCALARS[first])
        if first in ("s", "o", "g"):
            size = self._number("B" if first == "g" else "I")
            self._at += size + 1
            return self._raw[self._at - size - 1 : self._at - 1].decode("utf-8", "replace")
        if first == "v":
            return self.take(self.take("g"))
        if first == "a":
            return self._array(kind[1:])
        return tuple(self.take(one) for one in split(kind[1:-1]))

    def _array(self, kind: str) -> list[Any]:
        size = self._number("I")
        self.align(_ALIGNMENT.get(kind[0], 4))
        end = self._at + size
        if end > len(self._raw):
            raise ValueError("an array beyond the end")
        items = []
        while self._at < end:
            items.append(self.take(kind))
        return items

    def _number(self, letter: str) -> Any:
        size = struct.calcsize("=" + letter)
        self._at += size
        return struct.unpack_from(self._order + letter, self._raw, self._at - size)[0]
