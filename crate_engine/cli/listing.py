"""Rows of values as `--format` asks for them: docker's table, a table or lines by a Go template, or JSON, an object a line. Pure."""

from __future__ import annotations

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

_TABLE = "table"


def shown(
    rows: Iterable[Mapping[str, Any]],
    headers: Mapping[str, Any],
    columns: Sequence[str],
    *,
    form: str | None = None,
    heading: bool = True,
) -> str:
    """The text with its last end of line. `headers` has every field a row has; `columns` are those of the table that no form asks for.

    Raises TemplateError.
    """
    form = (form or _TABLE).strip()
    if form == _TABLE:
        cells = [tuple(row[name] for name in columns) for row in rows]
        return _table(tuple(headers[name] for name in columns), cells, heading)
    from crate_engine.cli.template import Template
    from crate_engine.cli.template_functions import HEADINGS, json

    if form == "json":
        return "".join(f"{json(dict(row))}\n" for row in rows)
    if form.startswith(_TABLE):
        text = form.removeprefix(_TABLE).strip()
        title = Template(text, escapes=True, functions=HEADINGS).render(dict(headers))
        template = Template(text, escapes=True)
        lines = [template.render(dict(row)) for row in rows]
        return _table(tuple(title.split("\t")), [tuple(line.split("\t")) for line in lines], heading)
    template = Template(form, escapes=True)
    return "".join(f"{template.render(dict(row))}\n" for row in rows)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], heading: bool) -> str:
    count = max(map(len, (header, *rows)))
    filled = [row + ("",) * (count - len(row)) for row in (header, *rows)]
    text = render.table(filled[0], filled[1:])
    return text if heading else text.partition("\n")[2]
