"""The strict reader of JSON."""

from __future__ import annotations

import pytest

from crate_engine.errors import ImageError
from crate_engine.oci.strict_json import Fields, dump, parse

REFUSED = {
    "empty": b"",
    "not an object": b"[]",
    "a number": b"1",
    "duplicate key": b'{"a":1,"a":2}',
    "duplicate key inside": b'{"x":[{"a":1,"b":2,"a":1}]}',
    "duplicate key, escaped": b'{"a":1,"\\u0061":2}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "overflowing number": b'{"a":1e999}',
    "integer too large": b'{"a":9223372036854775808}',
    "integer of 5000 digits": b'{"a":' + b"1" * 5000 + b"}",
    "byte order mark": b'\xef\xbb\xbf{"a":1}',
    "UTF-16": '{"a":1}'.encode("utf-16"),
    "invalid UTF-8": b'{"a":"\xff"}',
    "trailing data": b'{"a":1} {"b":2}',
    "trailing comma": b'{"a":1,}',
    "comment": b'{"a":1 /* x */}',
    "single quotes": b"{'a':1}",
    "control character": b'{"a":"\n"}',
    "too deep": b'{"a":' + b"[" * 33 + b"]" * 33 + b"}",
    "far too deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 40 + b"1" + b"}" * 40,
}


@pytest.mark.parametrize("raw", REFUSED.values(), ids=REFUSED.keys())
def test_documents_with_more_than_one_reading_are_refused(raw: bytes) -> None:
    with pytest.raises(ImageError, match="read thing") as failure:
        parse(raw, "thing")
    assert "\n" not in str(failure.value)


def test_ordinary_documents_are_read() -> None:
    assert parse(b' {"a":[1,-2,0.5,true,null,"\\u00e4\xc3\xa4"],"A":{}} \n', "x") == {
        "a": [1, -2, 0.5, True, None, "ää"],
        "A": {},
    }
    assert parse(b'{"a":9223372036854775807}', "x") == {"a": 2**63 - 1}
    assert parse(b'{"a":' + b"[" * 31 + b"]" * 31 + b"}", "x")


def test_the_size_limit_is_exact() -> None:
    assert parse(b'{"a": 1}', "x", limit=8)
    with pytest.raises(ImageError, match="8 bytes are more than the 7 allowed"):
        parse(b'{"a": 1}', "x", limit=7)


def test_what_is_written_can_be_read() -> None:
    document = {"b": ["ä", 1], "a": {"x": None}}
    assert dump(document) == '{"b":["ä",1],"a":{"x":null}}'.encode()
    assert parse(dump(document), "x") == document


def test_fields_that_differ_from_known_ones_only_in_case_are_refused() -> None:
    known = frozenset({"layers", "config"})
    Fields({"layers": 1, "Other": 2, "OTHER": 3}, "x", known)
    with pytest.raises(ImageError, match="'Layers' differs only in case"):
        Fields({"Layers": 1}, "x", known)


def test_a_wrong_type_names_its_place() -> None:
    fields = Fields({"t": 1, "i": True, "n": None, "l": ["a", 1], "m": {"k": 1}, "z": "a\0b", "s": "\ud800"}, "x", frozenset())
    for call, place in (
        (lambda: fields.text("t"), r"x\.t: must be a text"),
        (lambda: fields.integer("i"), r"x\.i: must be a whole number"),
        (lambda: fields.text("n", required=True), r"x\.n: is missing"),
        (lambda: fields.texts("l"), r"x\.l\[1\]: must be a text"),
        (lambda: fields.mapping("m"), r"x\.m\.k: must be a text"),
        (lambda: fields.array("m"), r"x\.m: must be a list"),
        (lambda: fields.text("z"), r"x\.z: must not contain NUL"),
        (lambda: fields.text("s"), r"x\.s: contains half a surrogate pair"),
    ):
        with pytest.raises(ImageError, match=place):
            call()
    assert (fields.text("n"), fields.texts("n"), fields.mapping("n"), fields.integer("n")) == ("", (), {}, None)
