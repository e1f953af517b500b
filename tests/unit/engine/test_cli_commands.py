"""The table of commands against the functions it names, the documentation, and typer's help."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from crate_engine.cli import app
from crate_engine.cli.commands import FLAG, GLOBAL_OPTIONS, Command
from crate_engine.cli.table import ALIASES, BY_NAME, COMMANDS, NOUNS

DOCUMENT = (Path(__file__).parents[3] / "docs/commands.md").read_text()
each_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def section(command: Command) -> str:
    found = re.search(rf"^### `(crate {command.name}[^`]*)`\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/commands.md has no section of {command.name}"
    return found[0]


def test_names_and_flags_are_unique() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)
    for options in (GLOBAL_OPTIONS, *(command.options for command in COMMANDS)):
        flags = [flag for option in options for flag in option.flags]
        assert len(flags) == len(set(flags))


@each_command
def test_the_documentation_has_the_usage_line(command: Command) -> None:
    assert section(command).startswith(f"### `{command.usage}`\n")


@each_command
def test_the_documentation_has_every_flag_and_value(command: Command) -> None:
    text = section(command)
    for option in command.options:
        for word in (*option.flags, *option.choices):
            assert re.search(rf"`{word}[ `]", text) or (command.name == "create" and word in option.choices), word


@each_command
def test_the_documentation_has_no_flag_that_is_not_there(command: Command) -> None:
    known = {flag for option in command.options for flag in option.flags}
    named = set(re.findall(r"(?<=`)-{1,2}[a-z][a-z-]*", section(command)))
    assert named <= known | ({"-d"} if command.name == "create" else set())


@each_command
def test_the_documentation_tells_the_exit_status(command: Command) -> None:
    text = section(command).lower()
    assert "exit status" in text
    assert ("125" in text) == (command.failure == 125)


def test_the_documentation_has_every_global_option() -> None:
    head = DOCUMENT.partition("## Containers")[0]
    for option in GLOBAL_OPTIONS:
        for word in (*option.flags, *option.choices):
            assert re.search(rf"`{word}[ `]", head), word


def test_the_documentation_has_no_command_that_is_not_there() -> None:
    assert re.findall(r"^### `crate ([a-z]+(?: [a-z]+)*)", DOCUMENT, re.MULTILINE) == [command.name for command in COMMANDS]


def test_the_documentation_has_every_second_name() -> None:
    assert all(f"| `{alias}` | `{name}` |" in DOCUMENT for alias, name in ALIASES.items())


def test_a_name_of_two_words_begins_with_a_noun() -> None:
    assert {name.partition(" ")[0] for name in BY_NAME if " " in name} == set(NOUNS)


@pytest.mark.parametrize("alias", ALIASES)
def test_help_of_a_second_name_is_that_of_the_command(alias: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.show_help(alias) == 0
    assert BY_NAME[alias].help in capsys.readouterr().out


@pytest.mark.parametrize("noun", NOUNS)
def test_help_of_a_noun_names_what_stands_below_it(noun: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.show_help(noun) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {name.split()[1]} ", text, re.MULTILINE) for name in BY_NAME if name.startswith(f"{noun} "))


@each_command
def test_the_function_takes_what_the_table_names(command: Command) -> None:
    module, _, name = command.run.partition(":")
    function = getattr(importlib.import_module(module), name)
    parameters = list(inspect.signature(function).parameters.values())
    assert parameters[0].name == "session"
    named = {parameter.name for parameter in parameters[1:] if parameter.kind is inspect.Parameter.KEYWORD_ONLY}
    table = {argument.name for argument in command.arguments} | {option.name for option in command.options}
    assert named <= table
    assert named == table or parameters[-1].kind is inspect.Parameter.VAR_KEYWORD


@each_command
def test_help_names_every_flag(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.show_help(command.name) == 0
    text = capsys.readouterr().out
    assert command.help in text
    for option in command.options:
        assert all(flag in text for flag in option.flags)
        assert option.kind == FLAG or option.metavar in text


def test_help_of_crate_names_every_command_and_global_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.show_help() == 0
    text = capsys.readouterr().out
    for word in (*(name for name in BY_NAME if " " not in name), *NOUNS):
        assert re.search(rf"^  {word} ", text, re.MULTILINE)
    for option in GLOBAL_OPTIONS:
        assert all(flag in text for flag in option.flags)
