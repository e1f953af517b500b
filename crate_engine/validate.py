"""Check a document against one of our JSON Schemas (`schemas/`, draft 2020-12) and say each defect in our own words.

This is the one module of the engine that imports jsonschema, and only when it is called: for what people write (settings) and in tests of
what we write. It reads no document itself, and the hot path does not come here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}


@dataclass(frozen=True, slots=True)
class Defect:
    """`path` is like `insecure_registries[1]`, and empty for the document as a whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def validate(document: object, schema: str) -> list[Defect]:
    """All defects in the order of their paths; none means valid. `schema` is a name below `schemas/`: `crate/settings`, `image/manifest`."""
    import jsonschema

    validator = jsonschema.Draft202012Validator(load_schema(schema), format_checker=jsonschema.FormatChecker())
    defects = [defect for error in validator.iter_errors(document) for defect in _defects(error)]
    return sorted(defects, key=lambda defect: defect.path)


def load_schema(name: str) -> dict[str, Any]:
    """Raises FileNotFoundError for a name that is not below `schemas/`."""
    import json

    with open(os.path.join(schema_directory(), *name.split("/")) + ".json", encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
    return schema


def schema_directory() -> str:
    """Where this installation keeps its schemas: inside the package (a wheel) or beside it (a checkout, also one installed as editable)."""
    installed = os.path.join(_PACKAGE, "schemas")
    return installed if os.path.isdir(installed) else os.path.join(os.path.dirname(_PACKAGE), "schemas")


def path_text(path: Iterable[object]) -> str:
    """`("mounts", 2, "type")` → `mounts[2].type`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, or None."""
    import difflib

    words = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return words[found[0]] if found else None


def _defects(error: Any) -> list[Defect]:
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        unknown = [key for key in error.instance if key not in known]
        return [Defect(path_text((*path, key)), _with_nearest("unknown key", str(key), known)) for key in unknown]
    return [Defect(path_text(path), _MESSAGES.get(error.validator, _generic)(error))]


def _with_nearest(text: str, word: str, known: Iterable[str]) -> str:
    near = nearest(word, known)
    return f"{text}; did you mean {near}?" if near else text


def _quoted(value: object) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"


def _wrong_type(error: Any) -> str:
    wanted = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
    return f"must be {' or '.join(_TYPES[name] for name in wanted)}, not {_quoted(error.instance)}"


def _not_listed(error: Any) -> str:
    choices = [value if isinstance(value, str) else _quoted(value) for value in error.validator_value]
    text = f"{_quoted(error.instance)} is not one of {', '.join(choices)}"
    return _with_nearest(text, error.instance, choices) if isinstance(error.instance, str) else text


def _wrong_form(error: Any) -> str:
    title = error.schema.get("title")
    return f"{_quoted(error.instance)} is not {title}" if title else _generic(error)


def _missing(error: Any) -> str:
    absent = [key for key in error.validator_value if key not in error.instance]
    return f"required key missing: {', '.join(absent)}"


def _generic(error: Any) -> str:
    rule = _quoted(error.validator_value)
    return f"{_quoted(error.instance)} breaks the rule {error.validator}: {rule}"


_MESSAGES: dict[str, Callable[[Any], str]] = {
    "type": _wrong_type,
    "enum": _not_listed,
    "pattern": _wrong_form,
    "format": _wrong_form,
    "anyOf": _wrong_form,
    "oneOf": _wrong_form,
    "required": _missing,
    "minimum": lambda error: f"{error.instance} is less than {error.validator_value}",
    "maximum": lambda error: f"{error.instance} is more than {error.validator_value}",
    "uniqueItems": lambda error: "the same value is listed twice",
    "maxItems": lambda error: f"more than {error.validator_value} values",
}
