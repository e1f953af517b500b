"""Strict JSON: what is refused, and where the error says it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crate_runc import strict_json
from crate_runc.strict_json import MAX_BYTES, MAX_DEPTH, JSONError, dumps, dumps_indented, loads

VALUES: list[Any] = [
    {},
    [],
    "text",
    0,
    -1,
    2**64 - 1,
    1.5,
    True,
    {"a": [1, {"b": "c"}, []], "é": "ü\n\t\"\\", "𝄞": {}},
    [[], {}, "", False],
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_reads_what_json_writes_and_writes_what_json_reads(value: Any) -> None:
    assert loads(json.dumps(value).encode()) == value
    assert loads(json.dumps(value, ensure_ascii=False, indent=3).encode()) == value
    assert json.loads(dumps(value)) == value
    assert json.loads(dumps_indented(value)) == value
    assert json.loads(dumps_indented(value, "\t")) == value


def test_indented_text_looks_as_json_indents_it() -> None:
    value = {"a": [1, {"b": "é"}], "empty": [{}, []], "s": "x"}
    assert dumps_indented(value) == json.dumps(value, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"b":2,"a":3}', '"a" appears twice'),
        ('{"x":{"y":1,"y":1}}', '"y" appears twice'),
        ("[NaN]", "NaN is not"),
        ("[-Infinity]", "-Infinity is not"),
        ("", "line 1, column 1"),
        ("   ", "line 1, column"),
        ("[1,\n2,]", "line 2, column"),
        ('{"a" 1}', "line 1, column 6"),
        ("[1] x", "line 1, column 5"),
        ("{'a':1}", "line 1, column 2"),
        ('["\x01"]', "line 1, column"),
        ("\ufeff{}", "line 1, column 1"),
        ('["\\u0000"]', "NUL"),
        ('{"\\u0000":1}', "NUL"),
        ('["\\ud800"]', "surrogate"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "deeper than"),
        ("[" * 200_000, "deeper than|not JSON"),
        ("[" + "1" * 5000 + "]", "not JSON"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(JSONError, match=message):
        loads(text.encode())


def test_takes_the_deepest_allowed_nesting() -> None:
    assert loads(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)


def test_takes_a_surrogate_pair() -> None:
    assert loads(b'["\\ud834\\udd1e"]') == ["𝄞"]


def test_refuses_what_is_not_utf8() -> None:
    with pytest.raises(JSONError, match="not UTF-8 at byte 2"):
        loads(b'["\xff"]')


def test_refuses_a_text_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strict_json, "MAX_BYTES", 10)
    assert loads(b'"12345678"') == "12345678"
    with pytest.raises(JSONError, match="longer than"):
        loads(b'"123456789"')
    assert MAX_BYTES > 1 << 20


def test_a_member_that_is_null_is_no_member() -> None:
    assert loads(b'{"a":null,"b":{"c":null},"d":[null]}') == {"b": {}, "d": [None]}


def test_refuses_to_write_what_json_cannot_hold() -> None:
    with pytest.raises(TypeError, match="bytes"):
        dumps({"a": b"x"})
