"""Rows by `--format`."""

from __future__ import annotations

from typing import Any

import pytest

from crate_engine.cli import listing
from crate_engine.cli.template import TemplateError

HEADERS: dict[str, Any] = {"ID": "IMAGE ID", "Tag": "TAG", "Size": "SIZE"}
ROWS = [{"ID": "aaa", "Tag": "latest", "Size": "1MB"}, {"ID": "bbb", "Tag": "\x1b[31m", "Size": "2MB"}]


def shown(form: str | None = None, *, heading: bool = True, rows: list[dict[str, str]] = ROWS) -> list[str]:
    return listing.shown(rows, HEADERS, ("Tag", "ID"), form=form, heading=heading).splitlines()


@pytest.mark.parametrize("form", [None, "", "table", " table "])
def test_the_table_is_what_no_form_asks_for(form: str | None) -> None:
    assert shown(form) == ["TAG        IMAGE ID", "latest     aaa", "\\x1b[31m   bbb"]


def test_a_table_has_no_head_where_none_is_wanted() -> None:
    assert shown(heading=False) == ["latest     aaa", "\\x1b[31m   bbb"]


def test_a_table_of_a_template_has_the_names_of_its_fields_as_head() -> None:
    assert shown(r"table {{.ID}}\t{{upper .Tag}}/{{.Size}}", rows=ROWS[:1]) == ["IMAGE ID   TAG/SIZE", "aaa        LATEST/1MB"]
    assert shown(r"table {{.ID}}", rows=[]) == ["IMAGE ID"]


def test_rows_of_a_table_may_have_fewer_cells() -> None:
    assert shown(r'table {{.ID}}{{if eq .ID "aaa"}}\t{{.Size}}{{end}}') == ["IMAGE ID   ", "aaa        1MB", "bbb        "]


def test_json_is_an_object_a_line() -> None:
    assert shown("json") == [
        '{"ID":"aaa","Tag":"latest","Size":"1MB"}',
        '{"ID":"bbb","Tag":"\\u001b[31m","Size":"2MB"}',
    ]
    assert shown("{{json .}}") == shown("json")


def test_a_template_is_a_line_for_each_row() -> None:
    assert shown(r"{{.ID}}\t{{.Size}}") == ["aaa\t1MB", "bbb\t2MB"]


@pytest.mark.parametrize("form", ["{{.Nope}}", "table {{.Nope}}"])
def test_an_unknown_field_is_an_error_that_names_the_known(form: str) -> None:
    with pytest.raises(TemplateError) as failure:
        shown(form)
    assert failure.value.hint == "there are .ID, .Tag, .Size"
