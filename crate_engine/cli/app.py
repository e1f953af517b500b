"""The table of commands as a typer application: help, shell completion, and a second parser that the tests compare with `parse`.

The one module that imports typer, and it takes longer than running a container: it is imported when someone reads help or completes a word.
It defines no command of its own.
"""

from __future__ import annotations

import enum
import inspect
import os
from typing import TYPE_CHECKING, Any, Optional

import typer

from crate_engine.cli.commands import CHOICE, FLAG, GLOBAL_OPTIONS, INT, ONE, OPTIONAL, SOME, SWITCH, TEXTS
from crate_engine.cli.parse import Invocation
from crate_engine.cli.table import BY_NAME, NOUNS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from crate_engine.cli.commands import Argument, Command, Option

    Sink = Callable[[Invocation], int]

SUMMARY = "Pull images and run containers, without a daemon and without root."


def show_help(name: str = "") -> int:
    """Print the help of a command or noun, or of crate itself, on standard output."""
    return _run([*name.split(), "--help"])


def run_completion(argv: list[str]) -> int:
    """Carry out what the environment's _CRATE_COMPLETE, `--install-completion` or `--show-completion` asks for."""
    return _run(argv)


def completion_script(shell: str) -> int:
    """Print what a shell sources: for bash, zsh or fish."""
    os.environ["_CRATE_COMPLETE"] = f"source_{shell}"
    return _run([])


def build(sink: Sink) -> Any:
    """The application as a click command; whatever it parses is given to `sink`, whose result is the exit status."""
    app = typer.Typer(name="crate", help=SUMMARY, invoke_without_command=True, rich_markup_mode=None)
    globals: dict[str, object] = {}

    def root(**values: object) -> None:
        globals.update(_plain(values))

    app.callback()(_shaped(root, [_option(option) for option in GLOBAL_OPTIONS]))
    nouns = {noun: typer.Typer(help=f"{text}.", rich_markup_mode=None) for noun, text in NOUNS.items()}
    for name, command in BY_NAME.items():
        noun, _, verb = name.rpartition(" ")
        _add(nouns.get(noun, app), verb, command, globals, sink)
    for noun, below in nouns.items():
        app.add_typer(below, name=noun)
    return typer.main.get_command(app)


def _run(argv: list[str]) -> int:
    try:
        build(lambda _invocation: 0).main(args=argv, prog_name="crate", standalone_mode=True)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return 0


def _add(app: typer.Typer, name: str, command: Command, globals: dict[str, object], sink: Sink) -> None:
    def call(**values: object) -> None:
        # click turns a flag that is on by default off; here `--flag` means on, and `--flag=false` off
        on = {option.name: True for option in command.options if option.kind == FLAG and option.default}
        raise typer.Exit(sink(Invocation(command, dict(globals), _plain(values) | on)))

    parameters = [*(_argument(argument) for argument in command.arguments), *(_option(option) for option in command.options)]
    settings = {"allow_interspersed_args": command.interspersed}
    app.command(name, help=command.help, context_settings=settings)(_shaped(call, parameters))


def _plain(values: dict[str, Any]) -> dict[str, object]:
    return {name: _value(value) for name, value in values.items()}


def _value(value: object) -> object:
    if isinstance(value, enum.Enum):
        return value.value
    return tuple(value) if isinstance(value, list) else value


def _shaped(function: Callable[..., None], parameters: Iterable[inspect.Parameter]) -> Callable[..., None]:
    """Give a function the signature that typer reads the command line from."""
    ordered = list(parameters)
    function.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
    return function


def _option(option: Option) -> inspect.Parameter:
    kinds: dict[str, Any] = {FLAG: bool, SWITCH: Optional[bool], TEXTS: list[str], INT: Optional[int]}  # noqa: UP045 (typer wants the old form)
    if option.kind == CHOICE:
        choices = enum.Enum(option.name.title(), {choice: choice for choice in option.choices})  # type: ignore[misc]
        kinds[CHOICE] = Optional[choices]  # noqa: UP045
    default = typer.Option(
        [] if option.kind == TEXTS else option.default,
        *option.flags,
        help=option.help,
        metavar=option.metavar or None,
        show_default=option.kind not in (FLAG, SWITCH) and option.default is not None,
    )
    return _parameter(option.name, kinds.get(option.kind, Optional[str]), default)  # noqa: UP045


def _argument(argument: Argument) -> inspect.Parameter:
    default = typer.Argument(
        ... if argument.count in (ONE, SOME) else None if argument.count == OPTIONAL else [],
        metavar=argument.metavar,
        show_default=False,
        autocompletion=_offered(argument.names) if argument.names else None,
    )
    kind: Any = {ONE: str, OPTIONAL: Optional[str]}.get(argument.count, list[str])  # noqa: UP045
    return _parameter(argument.name, kind, default)


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _offered(kind: str) -> Callable[[str], list[str]]:
    """What a shell completes: the names of containers or images in the user's own store."""

    def names(incomplete: str) -> list[str]:
        from crate_engine.cli.session import known_names

        return [name for name in known_names(kind) if name.startswith(incomplete)]

    return names
