"""Protocol buffers as criu speaks them: varints, strings and messages in messages (protobuf.dev, "Encoding"). Pure; no floats, no groups."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Value = int | str | bytes

_VARINT, _SIXTY_FOUR_BITS, _LENGTH, _THIRTY_TWO_BITS = 0, 1, 2, 5


def encode(fields: Iterable[tuple[int, Value]]) -> bytes:
    """A message. An encoded message as a value is a message in it; a negative number is one of 64 bits, as int32 is written."""
    message = b""
    for number, value in fields:
        if isinstance(value, int):
            message += _varint(number << 3 | _VARINT) + _varint(value & 0xFFFFFFFFFFFFFFFF)
        else:
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
            message += _varint(number << 3 | _LENGTH) + _varint(len(raw)) + raw
    return message


def decode(message: bytes) -> dict[int, list[int | bytes]]:
    """The values of each field, in their order. Raises ValueError for what is no message."""
    found: dict[int, list[int | bytes]] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value: int | bytes
        if key & 7 == _VARINT:
            value, at = _read_varint(message, at)
        else:
            if key & 7 == _LENGTH:
                size, at = _read_varint(message, at)
            else:
                size = {_SIXTY_FOUR_BITS: 8, _THIRTY_TWO_BITS: 4}.get(key & 7, -1)
            if size < 0 or at + size > len(message):
                raise ValueError(f"field {key >> 3} of wire type {key & 7} at byte {at}")
            value = message[at : at + size]
            at += size
        found.setdefault(key >> 3, []).append(value)
    return found


def signed(value: int) -> int:
    """An int32 out of its varint."""
    return value - (1 << 64) if value >> 63 else value


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message) and shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"number that does not end at byte {at}")
