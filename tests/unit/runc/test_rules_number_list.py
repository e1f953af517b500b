"""Lists of processors and memory nodes, as the kernel writes them."""

from __future__ import annotations

import pytest

from crate_runc.rules import number_list


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", []),
        ("0", [0]),
        ("0-3,7", [0, 1, 2, 3, 7]),
        ("7,0-3", [0, 1, 2, 3, 7]),
        ("1,1-2,2", [1, 2]),
        (" 1 - 2 , 4", [1, 2, 4]),
        ("5-5", [5]),
        ("8191", [8191]),
    ],
)
def test_reads(text: str, numbers: list[int]) -> None:
    assert number_list.numbers_of(text) == numbers


@pytest.mark.parametrize(
    "text", [",", "0-", "-1", "3-1", "1-2-3", "a", "0x1", "8192", "0-99999999999", "1,,2", "²", "１", "1_0", "+1"]
)
def test_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        number_list.numbers_of(text)


@pytest.mark.parametrize(
    ("numbers", "mask"),
    [([], b""), ([0], b"\1" + bytes(7)), ([0, 8, 63], b"\1\1" + bytes(5) + b"\x80"), ([64], bytes(8) + b"\1" + bytes(7))],
)
def test_as_a_mask_of_words(numbers: list[int], mask: bytes) -> None:
    assert number_list.mask_of(numbers) == mask
