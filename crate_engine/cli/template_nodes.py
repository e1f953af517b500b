"""What a template does when it is rendered: its pieces as functions of a scope, which print, choose, repeat and look up (Go's text/template)."""

from __future__ import annotations

from crate_engine.cli import template_functions as functions
from crate_engine.cli.render import display
from crate_engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn, Protocol

    Node = Callable[["Scope"], None]
    Operand = Callable[["Scope"], Any]

    class Token(Protocol):
        """A word of the template, at an offset."""

        at: int
        text: str


class TemplateError(UsageError):
    """What is wrong, and where in the template."""


class Scope:
    """One rendering: `.`, the variables by name, and what was written so far."""

    def __init__(self, text: str, dot: Any) -> None:
        self.text = text
        self.dot = dot
        self.variables: list[tuple[str, Any]] = [("$", dot)]
        self.output: list[str] = []

    def get(self, name: str) -> Any:
        return next(value for known, value in reversed(self.variables) if known == name)

    def set(self, name: str, value: Any) -> None:
        place = next(place for place in reversed(range(len(self.variables))) if self.variables[place][0] == name)
        self.variables[place] = (name, value)


class Break(Exception):
    pass


class Continue(Exception):
    pass


def render(body: list[Node], scope: Scope) -> None:
    for node in body:
        node(scope)


def fail(source: str, at: int, problem: str, hint: str | None = None) -> NoReturn:
    """`at` is an offset in the template; lines are told where it has several."""
    line, column = source.count("\n", 0, at) + 1, at - (source.rfind("\n", 0, at) + 1) + 1
    where = f"line {line}, column {column}" if "\n" in source else f"column {column}"
    raise TemplateError(f"read template {display(source)!r}: {where}: {problem}", hint=hint)


def text(plain: str) -> Node:
    return lambda scope: scope.output.append(plain)


def printed(value: Operand) -> Node:
    return lambda scope: scope.output.append(functions.shown(value(scope)))


def assigned(name: str, declared: bool, value: Operand) -> Node:
    def assign(scope: Scope) -> None:
        if declared:
            scope.variables.append((name, value(scope)))
        else:
            scope.set(name, value(scope))

    return assign


def leave(kind: type[Exception]) -> Node:
    def leave(scope: Scope) -> None:
        raise kind

    return leave


def _within(scope: Scope, dot: Any, variables: list[tuple[str, Any]], body: list[Node]) -> None:
    """A body with a `.` and variables of its own."""
    outer, known = scope.dot, len(scope.variables)
    scope.dot = dot
    scope.variables += variables
    try:
        render(body, scope)
    finally:
        scope.dot = outer
        del scope.variables[known:]


def if_(names: list[str], declared: bool, value: Operand, body: list[Node], otherwise: list[Node], at: int) -> Node:
    def choose(scope: Scope) -> None:
        found = value(scope)
        if names and not declared:
            scope.set(names[0], found)
        new = [(name, found) for name in names if declared]
        _within(scope, scope.dot, new, body if functions.truth(found) else otherwise)

    return choose


def with_(names: list[str], declared: bool, value: Operand, body: list[Node], otherwise: list[Node], at: int) -> Node:
    def enter(scope: Scope) -> None:
        found = value(scope)
        if names and not declared:
            scope.set(names[0], found)
        held = functions.truth(found)
        _within(scope, found if held else scope.dot, [(name, found) for name in names if declared], body if held else otherwise)

    return enter


def range_(names: list[str], declared: bool, value: Operand, body: list[Node], otherwise: list[Node], at: int) -> Node:
    def walk(scope: Scope) -> None:
        found = value(scope)
        pairs = functions.pairs(found)
        if pairs is None:
            fail(scope.text, at, f"range cannot go over {functions.kind(found)}")
        for key, item in pairs:
            given = list(zip(names, (key, item) if len(names) > 1 else (item,), strict=False))
            if not declared:
                for name, one in given:
                    scope.set(name, one)
            try:
                _within(scope, item, given if declared else [], body)
            except Continue:
                continue
            except Break:
                break
        if not pairs:
            _within(scope, scope.dot, [], otherwise)

    return walk


def field(value: Operand, token: Token) -> Operand:
    name = token.text[1:]

    def get(scope: Scope) -> Any:
        found = value(scope)
        if isinstance(found, dict):
            if name in found:
                return found[name]
            if isinstance(found, functions.Map):
                return functions.NO_VALUE
            known = ", ".join(f".{key}" for key in found)
            fail(scope.text, token.at, f"there is no field {token.text}", f"there are {known}" if known else None)
        fail(scope.text, token.at, f"{functions.kind(found)} has no field {token.text}")

    return get


def method(operand: Operand, arguments: list[Operand], token: Token) -> Operand:
    def call(scope: Scope) -> Any:
        found = operand(scope)
        if callable(found):
            return called(found, arguments, token)(scope)
        if arguments:
            fail(scope.text, token.at, f"{token.text} is no method and takes no argument")
        return found

    return call


def called(function: Callable[..., Any], arguments: list[Operand], token: Token) -> Operand:
    def call(scope: Scope) -> Any:
        try:
            if function in (functions.either, functions.both):  # their arguments are looked at one after the other
                return function(argument(scope) for argument in arguments)
            return function(*(argument(scope) for argument in arguments))
        except (functions.Refused, TypeError) as error:
            reason = str(error) if isinstance(error, functions.Refused) else f"takes other arguments than these {len(arguments)}"
            fail(scope.text, token.at, f"{token.text}: {reason}")

    return call
