"""An argv into an Invocation, by the table in `commands` and in docker's grammar (getopt's, as the Go programs of the field read it).

`-it`, `-p80:80`, `-eA=1`, `--flag value`, `--flag=value`, `--rm=false`, `--`. In run, create and exec what follows the first argument belongs
to the program. This is what runs on the hot path: it imports nothing, prints nothing and knows no command of its own.
"""

from __future__ import annotations

from crate_engine.cli.commands import BY_NAME, CHOICE, FLAG, GLOBAL_OPTIONS, INT, ONE, OPTIONAL, REST, SWITCH, TEXTS
from crate_engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from crate_engine.cli.commands import Command, Option

# what Go's strconv.ParseBool takes, which scripts for docker are written against
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


class Misuse(UsageError):
    """An argv that cannot be understood; `command` is the one whose help explains it, or empty."""

    def __init__(self, message: str, *, command: str = "", hint: str | None = None) -> None:
        super().__init__(f"{command}: {message}" if command else message, hint=hint)
        self.command = command


class Invocation:
    """`globals` and `values` have an entry for every option and argument of the table, under its name."""

    __slots__ = ("command", "globals", "help", "values")

    def __init__(
        self, command: Command | None, globals: dict[str, object], values: dict[str, object], *, help: str | None = None
    ) -> None:
        self.command = command
        self.globals = globals
        self.values = values
        self.help = help
        """What help is wanted of: a command or noun as it was typed, an empty text for crate itself; None where it is not."""


def parse(argv: Sequence[str]) -> Invocation:
    """Raises Misuse, whose text begins with the command if there is one."""
    globals, rest, help = _options(argv, GLOBAL_OPTIONS, interspersed=False, command="")
    if rest[:1] == ["help"]:
        rest, help = rest[1:], True
    if not rest:
        return Invocation(None, globals, {}, help=None if globals["version"] and not help else "")
    command, typed, rest = _named(rest)
    if help or command is None:
        return Invocation(command, globals, {}, help=typed)
    values, words, help = _options(rest, command.options, interspersed=command.interspersed, command=command.name)
    if not help:
        values |= _arguments(words, command)
    return Invocation(command, globals, values, help=typed if help else None)


def _named(words: list[str]) -> tuple[Command | None, str, list[str]]:
    """The command that an argv begins with, the name it was called by, and the rest; no command where help of a noun is wanted."""
    name = words[0]
    command = BY_NAME.get(name)
    if command is not None:
        return command, name, words[1:]
    from crate_engine.cli import table

    if name in table.NOUNS:
        if words[1:2] in ([], ["--help"], ["help"]):
            return None, name, []
        name, words = f"{name} {words[1]}", words[1:]
    command = table.BY_NAME.get(name)
    if command is None:
        raise Misuse(f'unknown command "{name}"', hint=_meant(name, (*table.BY_NAME, *table.NOUNS)))
    return command, name, words[1:]


def _options(
    argv: Sequence[str], options: tuple[Option, ...], *, interspersed: bool, command: str
) -> tuple[dict[str, object], list[str], bool]:
    """The values of all `options`, the words that are none, and whether `--help` was met."""
    reader = _Reader(options, command)
    words: list[str] = []
    pending = list(reversed(argv))
    while pending:
        word = pending.pop()
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            if interspersed:
                continue
            break
        if word == "--help":
            return reader.values, words, True
        if word.startswith("--"):
            reader.long(word, pending)
        else:
            reader.shorts(word, pending)
    return reader.values, words + pending[::-1], False


class _Reader:
    """Collects the options of one command; `pending` is what is left of the argv, last word first."""

    __slots__ = ("command", "flags", "values")

    def __init__(self, options: Iterable[Option], command: str) -> None:
        self.command = command
        self.flags: dict[str, Option] = {}
        self.values: dict[str, object] = {}
        for option in options:
            self.values[option.name] = option.default
            for flag in option.flags:
                self.flags[flag] = option

    def long(self, word: str, pending: list[str]) -> None:
        flag, equals, value = word.partition("=")
        option = self.flags.get(flag)
        if option is None:
            raise self.unknown(flag)
        if equals:
            self.put(option, flag, value)
        elif option.kind in (FLAG, SWITCH):
            self.values[option.name] = True
        else:
            self.put(option, flag, self.following(flag, pending))

    def shorts(self, word: str, pending: list[str]) -> None:
        letters = word[1:]
        while letters:
            flag, letters = "-" + letters[0], letters[1:]
            option = self.flags.get(flag)
            if option is None:
                raise self.unknown(flag, within=word)
            if letters.startswith("="):
                return self.put(option, flag, letters[1:])
            if option.kind in (FLAG, SWITCH):
                self.values[option.name] = True
            else:
                return self.put(option, flag, letters or self.following(flag, pending))
        return None

    def following(self, flag: str, pending: list[str]) -> str:
        if not pending:
            raise self.error(f"{flag} needs a value")
        return pending.pop()

    def put(self, option: Option, flag: str, value: str) -> None:
        if option.kind in (FLAG, SWITCH):
            if value not in _TRUE + _FALSE:
                raise self.error(f'{flag}: "{value}" is neither true nor false')
            self.values[option.name] = value in _TRUE
        elif option.kind == TEXTS:
            self.values[option.name] = (*self.values[option.name], value)  # type: ignore[misc]
        elif option.kind == INT:
            self.values[option.name] = self.number(flag, value)
        elif option.kind == CHOICE and value not in option.choices:
            raise self.error(f'{flag}: "{value}" is not one of {", ".join(option.choices)}', hint=_meant(value, option.choices))
        else:
            self.values[option.name] = value

    def number(self, flag: str, value: str) -> int:
        digits = value[1:] if value[:1] in ("-", "+") else value
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise self.error(f'{flag}: "{value}" is not a whole number')
        return int(value)

    def unknown(self, flag: str, *, within: str = "") -> Misuse:
        where = f" in {within}" if within not in ("", flag) else ""
        if self.command and any(flag in option.flags for option in GLOBAL_OPTIONS):
            return self.error(
                f"unknown flag {flag}{where}", hint=f"{flag} goes before the command: crate {flag} … {self.command}"
            )
        return self.error(f"unknown flag {flag}{where}", hint=_meant(flag, self.flags) if flag.startswith("--") else None)

    def error(self, text: str, *, hint: str | None = None) -> Misuse:
        return Misuse(text, command=self.command, hint=hint)


def _arguments(words: list[str], command: Command) -> dict[str, object]:
    values: dict[str, object] = {}
    left = list(words)
    for argument in command.arguments:
        if not left and argument.count == OPTIONAL:
            values[argument.name] = None
            continue
        if not left and argument.count != REST:
            raise Misuse(f"{argument.metavar} is missing", command=command.name)
        if argument.count in (ONE, OPTIONAL):
            values[argument.name] = left.pop(0)
        else:
            values[argument.name], left = tuple(left), []
    if left:
        raise Misuse(f'unexpected argument "{left[0]}"', command=command.name)
    return values


def _meant(word: str, known: Iterable[str]) -> str | None:
    """The hint that names the nearest known word."""
    from crate_engine.validate import nearest

    near = nearest(word, known)
    return f"did you mean {near}?" if near else None
