from __future__ import annotations

import json
from pathlib import Path

import pytest

from crate_engine import validate
from crate_engine.validate import Defect


@pytest.fixture
def schemas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(validate, "schema_directory", lambda: str(tmp_path))
    (tmp_path / "part").mkdir()
    return tmp_path / "part"


def check(schemas: Path, schema: dict[str, object], document: object) -> list[str]:
    (schemas / "x.json").write_text(json.dumps(schema))
    return [str(defect) for defect in validate.validate(document, "part/x")]


def test_every_defect_is_found_and_has_its_path(schemas: Path) -> None:
    schema: dict[str, object] = {
        "type": "object",
        "required": ["name", "size"],
        "properties": {"mounts": {"type": "array", "items": {"properties": {"type": {"enum": ["bind", "tmpfs"]}}}}},
    }
    document = {"mounts": [{}, {"type": "bnd"}, {"type": 3}], "size": 1}
    assert check(schemas, schema, document) == [
        "required key missing: name",
        'mounts[1].type: "bnd" is not one of bind, tmpfs; did you mean bind?',
        "mounts[2].type: 3 is not one of bind, tmpfs",
    ]


def test_a_valid_document_has_no_defects(schemas: Path) -> None:
    assert check(schemas, {"type": "object"}, {}) == []


def test_a_long_value_is_cut_short_in_the_message(schemas: Path) -> None:
    (message,) = check(schemas, {"type": "integer"}, "x" * 500)
    assert len(message) < 120 and message.endswith("…")


def test_a_rule_without_words_of_our_own_is_still_said(schemas: Path) -> None:
    assert check(schemas, {"minLength": 3}, "ab") == ['"ab" breaks the rule minLength: 3']
    assert check(schemas, {"pattern": "^a"}, "b") == ['"b" breaks the rule pattern: "^a"']


@pytest.mark.parametrize(
    ("path", "text"),
    [((), ""), (("a",), "a"), (("a", "b"), "a.b"), (("a", 2, "b"), "a[2].b"), ((0, 1), "[0][1]"), ((0, "a"), "[0].a")],
)
def test_paths_are_written_as_people_write_them(path: tuple[object, ...], text: str) -> None:
    assert validate.path_text(path) == text


def test_the_nearest_word_ignores_case_and_gives_up_when_nothing_is_near() -> None:
    assert validate.nearest("NETWRK", ["network", "dns"]) == "network"
    assert validate.nearest("zzz", ["network", "dns"]) is None


def test_a_schema_of_this_checkout_is_found() -> None:
    assert validate.load_schema("crate/settings")["title"] == "Settings of crate"


def test_schemas_inside_the_package_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "_PACKAGE", str(tmp_path / "crate_engine"))
    assert validate.schema_directory() == str(tmp_path / "schemas")
    (tmp_path / "crate_engine/schemas").mkdir(parents=True)
    assert validate.schema_directory() == str(tmp_path / "crate_engine/schemas")


def test_an_unknown_schema_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        validate.validate({}, "crate/nope")


def test_a_defect_is_said_with_its_path_if_it_has_one() -> None:
    assert str(Defect("", "wrong")) == "wrong"
    assert str(Defect("a[1]", "wrong")) == "a[1]: wrong"
