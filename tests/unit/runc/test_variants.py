"""GVariant's text format, as annotations carry it."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.systemd import variants


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", ("b", True)),
        (" false ", ("b", False)),
        ("5", ("i", 5)),
        ("-5", ("i", -5)),
        ("0x10", ("i", 16)),
        ("1.5", ("d", 1.5)),
        ("uint64 30000000", ("t", 30_000_000)),
        ("@t 7", ("t", 7)),
        ("byte 255", ("y", 255)),
        ("double 3", ("d", 3.0)),
        ("'control-group'", ("s", "control-group")),
        ('"it\'s"', ("s", "it's")),
        (r"'a\'b\\c\n'", ("s", "a'b\\c\n")),
        ("objectpath '/a'", ("o", "/a")),
        ("['a.service', 'b.service']", ("as", ["a.service", "b.service"])),
        ("[uint32 1, 2]", ("au", [1, 2])),
        ("@ay [1, 2]", ("ay", [1, 2])),
        ("@as []", ("as", [])),
        ("[[1], [2, 3]]", ("aai", [[1], [2, 3]])),
    ],
)
def test_the_type_is_the_one_before_the_value_or_that_of_its_form(text: str, expected: tuple[str, Any]) -> None:
    assert variants.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "abc",
        "'open",
        "[1, 2",
        "[1 2]",
        "[]",
        "[1,]",
        "[1, 'a']",
        "1 2",
        "uint64",
        "uint64 -1",
        "byte 256",
        "int32 3000000000",
        "uint64 'a'",
        "@ 5",
        "@s 5",
        "@t uint32 5",
        "boolean 1",
        "@b []",
        "]",
        "('a', 1)",
    ],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(variants.VariantError):
        variants.parse(text)
