"""The part of docs/crate-runc.md that the command line's own tables say: `python -m tests.reference` writes it anew."""

from __future__ import annotations

from pathlib import Path

from crate_runc import cli, help_texts

PAGE = Path(__file__).resolve().parents[1] / "docs/crate-runc.md"
BEGIN, END = "<!-- from the tables of the command line: python -m tests.reference -->\n", "<!-- end of the tables -->\n"


def tables() -> str:
    return "".join(
        ["## Verbs\n\n", *map(_verb, sorted(cli.VERBS)), "## Global flags\n\n", _flags("", cli.GLOBAL, cli.SHORT_GLOBAL)]
    )


def written(text: str) -> str:
    """The page with its tables as they should be."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, "the page has lost the marks of its tables"
    return f"{before}{begin}\n{tables()}\n{end}{after}"


def _verb(verb: str) -> str:
    arguments, line, more = help_texts.VERB_TEXTS[verb]
    flags, short, _, _ = cli.VERBS[verb]
    usage = f"crate-runc {verb} [FLAGS] {arguments}".rstrip()
    text = f"{line[0].upper()}{line[1:]}. {more}".rstrip()
    return f"### {verb}\n\n    {usage}\n\n{text}\n\n{_flags(verb, flags, short)}"


def _flags(verb: str, flags: cli.Flags, short: dict[str, str]) -> str:
    if not flags:
        return ""
    letters = {name: letter for letter, name in short.items()}
    rows = ["| flag | |\n", "|---|---|\n"]
    for name in sorted(flags):
        value, text = help_texts.explain(verb, name)
        spelled = f"`-{letters[name]}`, " if name in letters else ""
        flag = f"--{name} {value}".rstrip().replace("|", "\\|")
        rows.append(f"| {spelled}`{flag}` | {text} |\n")
    return "".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
