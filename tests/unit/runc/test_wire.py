"""D-Bus messages: the bytes of the specification's rules, and back."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from crate_runc.systemd import wire

little_endian = pytest.mark.skipif(sys.byteorder != "little", reason="the expected bytes are little-endian")


def reply(kind: int, signature: str, values: tuple[Any, ...], fields: dict[int, Any]) -> bytes:
    """What a server sends: a call in another message type."""
    raw = bytearray(wire.call(7, fields, signature, values))
    raw[1] = kind
    return bytes(raw)


def test_a_signature_is_split_into_whole_types() -> None:
    assert wire.split("usa(sv)a{sv}aay(i(ss))") == ["u", "s", "a(sv)", "a{sv}", "aay", "(i(ss))"]
    for wrong in ("z", "a", "(i", "a(s"):
        with pytest.raises(wire.WireError):
            wire.split(wrong)


@little_endian
@pytest.mark.parametrize(
    ("signature", "values", "expected"),
    [
        ("y", (5,), b"\5"),
        ("yu", (5, 1), b"\5\0\0\0\1\0\0\0"),
        ("b", (True,), b"\1\0\0\0"),
        ("s", ("ab",), b"\2\0\0\0ab\0"),
        ("g", ("as",), b"\2as\0"),
        ("v", (("u", 9),), b"\1u\0\0\x09\0\0\0"),
        ("au", ([1, 2],), b"\x08\0\0\0\1\0\0\0\2\0\0\0"),
        ("at", ([],), b"\0\0\0\0\0\0\0\0"),
        ("at", ([3],), b"\x08\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0"),
        ("y(yt)", (1, (2, 3)), b"\1" + b"\0" * 7 + b"\2" + b"\0" * 7 + b"\3" + b"\0" * 7),
        ("x", (-1,), b"\xff" * 8),
    ],
)
def test_values_are_aligned_as_the_specification_says(signature: str, values: tuple[Any, ...], expected: bytes) -> None:
    assert wire.encode(signature, values) == expected


@pytest.mark.parametrize(
    ("signature", "value"),
    [("u", -1), ("y", 256), ("s", 5), ("s", "a\0b"), ("au", 5), ("v", "bare"), ("(ss)", ("one",)), ("t", 1 << 64)],
)
def test_a_value_of_another_type_is_refused(signature: str, value: Any) -> None:
    with pytest.raises(wire.WireError):
        wire.encode(signature, (value,))


def test_a_message_comes_back_as_it_was_sent() -> None:
    body: tuple[object, ...] = ("name", [("A", ("b", True)), ("B", ("as", ["x", ""])), ("C", ("t", (1 << 64) - 1))], [], 2.5)
    fields = {wire.PATH: "/a", wire.MEMBER: "M", wire.DESTINATION: "x.y"}
    raw = wire.call(3, fields, "sa(sv)a(sa(sv))d", body)
    assert wire.length(raw[: wire.FIXED_HEADER]) == len(raw)
    message = wire.parse(raw)
    assert message.type == wire.CALL
    assert message.fields == {**fields, wire.SIGNATURE: "sa(sv)a(sa(sv))d"}
    assert message.body == ["name", [("A", True), ("B", ["x", ""]), ("C", (1 << 64) - 1)], [], 2.5]


def test_a_message_of_the_other_byte_order_is_read_too() -> None:
    raw = b"B\2\0\1\0\0\0\4\0\0\0\1\0\0\0\x0f\5\1u\0\0\0\0\7\x08\1g\0\1u\0\0\0\0\0\x09"
    assert wire.length(raw[: wire.FIXED_HEADER]) == len(raw)
    message = wire.parse(raw)
    assert (message.type, message.fields[wire.REPLY_SERIAL], message.body) == (wire.RETURN, 7, [9])


def test_what_is_cut_or_no_message_is_refused() -> None:
    raw = reply(wire.RETURN, "as", (["abc", "def"],), {wire.REPLY_SERIAL: 1})
    for end in range(wire.FIXED_HEADER, len(raw)):
        with pytest.raises(wire.WireError):
            wire.parse(raw[:end])
    for head in (b"HTTP/1.1 400 Bad", b"l\1\0\2" + b"\0" * 12, b"l\1\0\1\xff\xff\xff\xff" + b"\0" * 8):
        with pytest.raises(wire.WireError):
            wire.length(head)
