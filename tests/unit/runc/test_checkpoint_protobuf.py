"""Protocol buffers: the bytes are those of the format's own description, and what is encoded is decoded again."""

from __future__ import annotations

import pytest

from crate_runc.checkpoint import protobuf


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([(1, 150)], "08 96 01"),
        ([(2, "testing")], "12 07 74 65 73 74 69 6e 67"),
        ([(3, protobuf.encode([(1, 150)]))], "1a 03 08 96 01"),
        ([(1, True), (1, False)], "08 01 08 00"),
        ([(16, 1)], "80 01 01"),
        ([(1, -2)], "08 fe ff ff ff ff ff ff ff ff 01"),
        ([], ""),
    ],
)
def test_messages(fields: list[tuple[int, int | str | bytes]], message: str) -> None:
    assert protobuf.encode(fields) == bytes.fromhex(message)


def test_what_is_encoded_is_decoded_again() -> None:
    decoded = protobuf.decode(protobuf.encode([(1, 7), (2, "a"), (2, "b"), (63, 1 << 40), (1, -1)]))
    assert decoded == {1: [7, (1 << 64) - 1], 2: [b"a", b"b"], 63: [1 << 40]}
    assert protobuf.signed((1 << 64) - 1) == -1
    assert protobuf.signed(5) == 5


def test_fields_of_fixed_size_are_passed_over() -> None:
    assert protobuf.decode(bytes.fromhex("0d 01020304 11 0102030405060708 1801")) == {
        1: [b"\x01\x02\x03\x04"],
        2: [bytes(range(1, 9))],
        3: [1],
    }


@pytest.mark.parametrize("message", ["08", "12 05 61", "0b", "0f", "80 80 80 80 80 80 80 80 80 80 80 01", "ff"])
def test_what_is_no_message_is_refused(message: str) -> None:
    with pytest.raises(ValueError, match=r"byte"):
        protobuf.decode(bytes.fromhex(message))
