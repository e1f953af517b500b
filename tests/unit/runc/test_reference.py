"""docs/crate-runc.md says what the command line's tables say, and what the code does."""

from __future__ import annotations

import pytest

from crate_runc import cli
from crate_runc.process import notify_socket, start_gate
from crate_runc.state import store
from tests import reference

TEXT = reference.PAGE.read_text()


def test_its_tables_are_those_of_the_command_line() -> None:
    assert reference.written(TEXT) == TEXT, "run: python -m tests.reference"


@pytest.mark.parametrize("verb", sorted(cli.VERBS))
def test_every_verb_and_flag_is_there(verb: str) -> None:
    section = TEXT.split(f"\n### {verb}\n")[1].split("\n## ")[0].split("\n### ")[0]
    for flag in cli.VERBS[verb][0]:
        assert f"`--{flag}" in section


@pytest.mark.parametrize(
    "words", [store.NO_CONTAINER, store.TAKEN, "container not running", "executable file not found in $PATH"]
)
def test_the_words_that_callers_match_are_there(words: str) -> None:
    assert f"`{words}`" in TEXT


@pytest.mark.parametrize("name", ["state.json", start_gate.NAME, f"{notify_socket.NAME}/notify.sock"])
def test_the_files_of_a_container_are_there(name: str) -> None:
    assert f"\n| `{name}` | " in TEXT


def test_where_the_state_is() -> None:
    assert f"`{store.default_root(0, {})}`" in TEXT
