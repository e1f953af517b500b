"""The Go templates of `--format`: fields, pipelines, variables, if, else, with, range, break, continue, comments and trimmed space (text/template).

A template is parsed once and rendered for each value. Values are what JSON has; a `Map` is a mapping with keys of somebody's choice, any other
dict a structure whose fields are known, so that asking for another is an error; a callable is a method. Functions are in template_functions.
Not here: define, template and block, complex numbers, and what only Go's own types have.
"""

from __future__ import annotations

import re

from crate_engine.cli import template_functions as functions
from crate_engine.cli import template_nodes as nodes
from crate_engine.cli.template_functions import FUNCTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from crate_engine.cli.template_nodes import Node, Operand

Map, TemplateError = functions.Map, nodes.TemplateError

_TOKEN = re.compile(
    r"""(?P<end>-?\}\})
    | (?P<string>"(?:[^"\\\n]|\\.)*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'(?:[^'\\\n]|\\.)')
    | (?P<number>[+-]?[0-9]+(?:\.[0-9]+)?)
    | (?P<field>\.[A-Za-z_][A-Za-z_0-9]*)
    | (?P<dot>\.)
    | (?P<variable>\$[A-Za-z_0-9]*)
    | (?P<name>[A-Za-z_][A-Za-z_0-9]*)
    | (?P<mark>:=|[=|(),])""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"\{\{(?:-\s)?/\*.*?\*/(?:\s-)?\}\}", re.DOTALL)
_KEYWORDS = ("if", "with", "range", "else", "end", "break", "continue")
_DEEPEST = 100
"""Blocks and parentheses within each other."""


class Template:
    """Raises TemplateError where the text is no template. With `escapes`, `\\t` and `\\n` outside of actions are a tab and a new line."""

    def __init__(self, text: str, *, escapes: bool = False, functions: Mapping[str, Callable[..., Any]] = FUNCTIONS) -> None:
        self.text = text
        self._body = _Parser(text, escapes, functions).template()

    def render(self, value: Any) -> str:
        """Raises TemplateError for a field that is not there, or a function that cannot take its arguments."""
        scope = nodes.Scope(self.text, value)
        nodes.render(self._body, scope)
        return "".join(scope.output)


class _Token:
    __slots__ = ("at", "kind", "spaced", "text")

    def __init__(self, kind: str, text: str, at: int, spaced: bool) -> None:
        self.kind = kind
        self.text = text
        self.at = at
        self.spaced = spaced
        """There is space before it: `.A .B` are two operands, `.A.B` is one."""


class _Parser:
    """Recursive descent into closures; `_depth` bounds how deep."""

    def __init__(self, text: str, escapes: bool, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._text = text
        self._functions = functions
        self._escapes = escapes
        self._at = 0
        self._trims = False
        self._depth = 0
        self._loops = 0
        self._variables = ["$"]
        self._tokens: list[_Token] = []

    def template(self) -> list[Node]:
        body, word = self._body(None)
        if word is not None:
            nodes.fail(self._text, word.at, f"{word.text} without if, with or range")
        return body

    # Text and blocks

    def _body(self, opened: _Token | None) -> tuple[list[Node], _Token | None]:
        """Up to the `end` or `else` of the block, which is returned, or up to the end of the template."""
        made: list[Node] = []
        known = len(self._variables)
        while True:
            if text := self._until_action():
                made.append(nodes.text(text.replace("\\t", "\t").replace("\\n", "\n") if self._escapes else text))
            if self._at >= len(self._text):
                if opened:
                    nodes.fail(self._text, opened.at, f"{opened.text} without end")
                return made, None
            self._read_action()
            first = self._peek()
            if first.kind == "name" and first.text in ("else", "end"):
                del self._variables[known:]
                return made, self._next()
            if first.kind != "end":
                made.append(self._action())

    def _until_action(self) -> str:
        """The text before the next action, without the space that `{{-` and the last `-}}` take; comments are left out."""
        found = ""
        while True:
            start = self._text.find("{{", self._at)
            piece, self._at = self._text[self._at : start if start >= 0 else None], start if start >= 0 else len(self._text)
            if self._trims:
                piece = piece.lstrip()
            self._trims = False
            if start >= 0 and re.match(r"\{\{-\s", self._text[start : start + 4]):
                piece = piece.rstrip()
            found += piece
            comment = _COMMENT.match(self._text, self._at)
            if not comment:
                return found
            self._at, self._trims = comment.end(), comment[0].endswith("-}}")

    def _read_action(self) -> None:
        """Its tokens, the end among them, into `_tokens`, last one first."""
        start = self._at
        self._at += 3 if re.match(r"\{\{-\s", self._text[start : start + 4]) else 2
        tokens: list[_Token] = []
        while not tokens or tokens[-1].kind != "end":
            before = self._at
            while self._text[self._at : self._at + 1].isspace():
                self._at += 1
            match = _TOKEN.match(self._text, self._at)
            if match is None:
                rest = self._text[self._at : self._at + 1]
                nodes.fail(self._text, self._at if rest else start, f"unexpected {rest!r}" if rest else "{{ without }}")
            tokens.append(_Token(str(match.lastgroup), match[0], self._at, self._at > before))
            self._at = match.end()
        self._trims = tokens[-1].text.startswith("-")
        self._tokens = tokens[::-1]

    def _peek(self) -> _Token:
        return self._tokens[-1]

    def _next(self) -> _Token:
        return self._tokens.pop()

    def _action(self) -> Node:
        first = self._peek()
        if first.kind == "name" and first.text in ("if", "with", "range"):
            block: Node = self._nested(first, lambda: self._block(self._next()))
            return block
        if first.kind == "name" and first.text in ("break", "continue"):
            self._next()
            if not self._loops:
                nodes.fail(self._text, first.at, f"{first.text} outside of range")
            self._end(first.text)
            return nodes.leave(nodes.Break if first.text == "break" else nodes.Continue)
        names, declared, value = self._assignment()
        self._end("the action")
        if not names:
            return nodes.printed(value)
        if len(names) > 1:
            nodes.fail(self._text, first.at, "two variables outside of range")
        return nodes.assigned(names[0], declared, value)

    def _block(self, opened: _Token) -> Node:
        """From behind `if`, `with` or `range` to its end; `else if` and `else with` are blocks in the else."""
        known = len(self._variables)
        names, declared, value = self._assignment()
        if len(names) > 1 and opened.text != "range":
            nodes.fail(self._text, opened.at, f"two variables with {opened.text}")
        self._end(opened.text)
        self._loops += opened.text == "range"
        body, word = self._body(opened)
        self._loops -= opened.text == "range"
        otherwise: list[Node] = []
        if word is not None and word.text == "else":
            if self._peek().kind == "name" and self._peek().text in ("if", "with"):
                otherwise = [self._nested(word, lambda: self._block(self._next()))]
            else:
                self._end("else")
                otherwise, word = self._body(opened)
                if word is not None and word.text == "else":
                    nodes.fail(self._text, word.at, "a second else")
                self._end("end")
        else:
            self._end("end")
        del self._variables[known:]
        return {"if": nodes.if_, "with": nodes.with_, "range": nodes.range_}[opened.text](
            names, declared, value, body, otherwise, opened.at
        )

    def _end(self, what: str) -> None:
        token = self._next()
        if token.kind != "end":
            nodes.fail(self._text, token.at, f"unexpected {token.text!r} in {what}")

    def _nested(self, token: _Token, parse: Callable[[], Any]) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            nodes.fail(self._text, token.at, f"more than {_DEEPEST} blocks and parentheses within each other")
        made = parse()
        self._depth -= 1
        return made

    # Pipelines

    def _assignment(self) -> tuple[list[str], bool, Operand]:
        """`$a := pipeline`, `$a, $b := pipeline`, `$a = pipeline` or a pipeline: the names, whether they are new, and the value."""
        ahead = [token.text if token.kind == "mark" else token.kind for token in self._tokens[:-5:-1]]
        count = 1 if ahead[1:2] in ([":="], ["="]) else 2 if ahead[1:2] == [","] and ahead[3:4] in ([":="], ["="]) else 0
        if not count or ahead[0] != "variable":
            return [], False, self._pipeline()
        tokens = [self._next() for _ in range(count * 2)]
        names = [token.text for token in tokens[::2]]
        declared = tokens[-1].text == ":="
        if not declared:
            for token in tokens[::2]:
                self._known(token)
        value = self._pipeline()
        if declared:
            self._variables += names
        return names, declared, value

    def _pipeline(self) -> Operand:
        value = self._command(None)
        while self._peek().text == "|" and self._peek().kind == "mark":
            self._next()
            value = self._command(value)
        return value

    def _command(self, piped: Operand | None) -> Operand:
        """A function or method with its arguments, or one operand. What is piped into it is its last argument."""
        first = self._peek()
        function = self._function(self._next()) if first.kind == "name" and first.text not in ("true", "false", "nil") else None
        operand = None if function else self._operand()
        arguments: list[Operand] = []
        while self._peek().kind != "end" and self._peek().text not in ("|", ")"):
            arguments.append(self._operand())
        if piped is not None:
            arguments.append(piped)
        if function:
            return nodes.called(function, arguments, first)
        assert operand is not None
        if arguments and first.kind not in ("field", "variable", "dot") and first.text != "(":
            nodes.fail(self._text, first.at, f"{first.text} is no function and takes no argument")
        return nodes.method(operand, arguments, first)

    def _operand(self) -> Operand:
        token = self._next()
        value = self._plain(token)
        while self._peek().kind == "field" and not self._peek().spaced:
            if token.kind in ("string", "raw", "number", "char"):
                nodes.fail(self._text, self._peek().at, f"{token.text} has no fields")
            value = nodes.field(value, self._next())
        return value

    def _plain(self, token: _Token) -> Operand:
        kind, text = token.kind, token.text
        if kind == "dot":
            return lambda scope: scope.dot
        if kind == "field":
            return nodes.field(lambda scope: scope.dot, token)
        if kind == "variable":
            self._known(token)
            return lambda scope: scope.get(text)
        if kind == "name" and text not in ("true", "false", "nil"):
            return nodes.called(self._function(token), [], token)
        if text == "(" and kind == "mark":
            value: Operand = self._nested(token, self._pipeline)
            closing = self._next()
            if closing.text != ")":
                nodes.fail(self._text, token.at, "( without )")
            return value
        if kind in ("end", "mark"):
            nodes.fail(self._text, token.at, f"a value is missing before {text!r}" if kind == "mark" else "a value is missing")
        constant = functions.literal(kind, text)
        if constant is functions.INVALID:
            nodes.fail(self._text, token.at, f"{text} is no text of Go")
        return lambda scope: constant

    def _known(self, token: _Token) -> None:
        if token.text not in self._variables:
            nodes.fail(self._text, token.at, f"there is no variable {token.text}")

    def _function(self, token: _Token) -> Callable[..., Any]:
        known = self._functions.get(token.text)
        if known is None:
            if token.text in (*_KEYWORDS, "define", "template", "block"):
                nodes.fail(self._text, token.at, f"{token.text} cannot stand here" + " in crate" * (token.text not in _KEYWORDS))
            names = ", ".join(sorted(self._functions))
            nodes.fail(
                self._text, token.at, f"there is no function {token.text}", f"there are {names}; a field begins with a dot"
            )
        return known
