"""`crate-runc check BUNDLE`: every defect of a bundle's config.json at once, each with its JSON path.

Two views are put together: the shape, after our JSON Schema (which also covers the properties that this runtime cannot apply), and the rules of
config.py, which `create` follows. Where both find fault with a property, the rule's words are kept. This is the one module that imports
jsonschema, and only when it is called.
"""

from __future__ import annotations

import os

from crate_runc import config
from crate_runc.errors import BundleError, RuncError
from crate_runc.rules.shapes import member, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "object": "an object",
    "string": "a string",
}


def bundle(path: str, file: str = "") -> list[BundleError]:
    """The defects in the order of their paths; none means that `create` takes the bundle. `file` stands in for its config.json. Raises
    BundleError where it cannot be read."""
    if not os.path.isdir(path):
        raise BundleError("", f"bundle {path}: not a directory")
    return document(config.read_document(path, file))


def document(value: Any) -> list[BundleError]:
    found = {error.where: error for error in shape(value, "config")}
    found.update({error.where: error for error in config.defects(value)})
    return sorted(found.values(), key=lambda error: error.where)


def shape(value: Any, schema: str) -> list[BundleError]:
    """Where `value` is not what schemas/runtime/<schema>.json says. Raises RuncError without jsonschema or without the schemas."""
    import site

    site.main()  # the launcher's -S leaves out where packages are
    try:
        import jsonschema
    except ImportError:
        raise RuncError(
            "check: the Python package jsonschema is missing; it comes with crate: pip install crate-containers"
        ) from None
    validator = jsonschema.Draft202012Validator(load_schema(schema))
    return [BundleError(where, what) for error in validator.iter_errors(value) for where, what in _defects(error)]


def load_schema(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = config.read_json(os.path.join(schema_directory(), f"{name}.json"))
    return schema


def schema_directory() -> str:
    """In a wheel, inside the sibling package, which is found as a directory and never imported; in a checkout, beside the packages."""
    places = [
        os.path.join(_PACKAGE, "..", "crate_engine", "schemas", "runtime"),
        os.path.join(_PACKAGE, "..", "schemas", "runtime"),
    ]
    for place in places:
        if os.path.isdir(place):
            return os.path.normpath(place)
    raise RuncError(f"check: no schemas in {' or '.join(map(os.path.normpath, places))}; install crate again")


def _defects(error: Any) -> Iterable[tuple[str, str]]:
    where = json_path(error.absolute_path)
    if error.validator == "required":
        for name in error.validator_value:
            if name not in error.instance:
                yield member(where, name), "is required"
        return
    if error.validator == "type":
        kinds = [error.validator_value] if isinstance(error.validator_value, str) else error.validator_value
        yield where, f"must be {' or '.join(_TYPES.get(kind, kind) for kind in kinds)}, not {quoted(error.instance)}"
    elif error.validator == "enum":
        yield where, f"unknown {quoted(error.instance)}; known: {', '.join(sorted(map(str, error.validator_value)))}"
    elif "title" in error.schema:
        yield where, f"must be {error.schema['title']}, not {quoted(error.instance)}"
    elif error.validator in ("minimum", "maximum"):
        bound = "at least" if error.validator == "minimum" else "at most"
        yield where, f"must be {bound} {error.validator_value}, not {error.instance}"
    else:
        yield where, f"breaks the rule {error.validator} {quoted(error.validator_value)}: {quoted(error.instance)}"


def json_path(parts: Iterable[str | int]) -> str:
    """`("mounts", 2, "type")` → `mounts[2].type`."""
    text = ""
    for part in parts:
        text = f"{text}[{part}]" if isinstance(part, int) else member(text, part)
    return text
