"""Small checks that are put together into tables: the type, range and form of one JSON value, reported at its JSON path.

A check is `check(value, where, report)`. `report` is called with each defect; config.load passes one that raises (the first defect ends
the work), `crate-runc check` one that collects them. Nothing here knows a property of config.json.
"""

from __future__ import annotations

from crate_runc.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Report = Callable[[BundleError], None]
    Check = Callable[[Any, str, Report], None]

INT32 = (-(1 << 31), (1 << 31) - 1)
INT64 = (-(1 << 63), (1 << 63) - 1)
UINT32 = (0, (1 << 32) - 1)
UINT64 = (0, (1 << 64) - 1)


def quoted(value: object) -> str:
    """A value as it looks in JSON, cut to 60 characters."""
    from crate_runc.strict_json import dumps_indented

    text = dumps_indented(value, "").replace("\n", "")
    return text if len(text) <= 60 else text[:59] + "…"


def string(value: Any, where: str, report: Report) -> None:
    if type(value) is not str:
        report(BundleError(where, f"must be a string, not {quoted(value)}"))


def filled(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or not value:
        report(BundleError(where, f"must be a string that is not empty, not {quoted(value)}"))


def boolean(value: Any, where: str, report: Report) -> None:
    if type(value) is not bool:
        report(BundleError(where, f"must be true or false, not {quoted(value)}"))


def absolute(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or not value.startswith("/"):
        report(BundleError(where, f"must be an absolute path, not {quoted(value)}"))


def integer(bounds: tuple[int, int]) -> Check:
    low, high = bounds

    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not int:
            report(BundleError(where, f"must be a whole number, not {quoted(value)}"))
        elif not low <= value <= high:
            report(BundleError(where, f"must be from {low} to {high}, not {value}"))

    return check


def one_of(words: Iterable[str]) -> Check:
    known = frozenset(words)

    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not str or value not in known:
            report(BundleError(where, f"unknown {quoted(value)}; known: {', '.join(sorted(known))}"))

    return check


def list_of(item: Check) -> Check:
    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not list:
            report(BundleError(where, f"must be a list, not {quoted(value)}"))
            return
        for index, element in enumerate(value):
            item(element, f"{where}[{index}]", report)

    return check


def map_of(item: Check) -> Check:
    """An object with free names, such as annotations."""

    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not dict:
            report(BundleError(where, f"must be an object, not {quoted(value)}"))
            return
        for name, element in value.items():
            if not name:
                report(BundleError(where, "a name is empty"))
            item(element, member(where, name), report)

    return check


def fields(properties: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """An object with known names; the runtime-spec asks that others be ignored ("Extensibility")."""

    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not dict:
            report(BundleError(where, f"must be an object, not {quoted(value)}"))
            return
        for name in required:
            if name not in value:
                report(BundleError(member(where, name), "is required"))
        for name, element in value.items():
            item = properties.get(name)
            if item is not None:
                item(element, member(where, name), report)

    return check


def passes(check: Check, value: Any, where: str, report: Report) -> bool:
    """Whether the check finds nothing to report. What goes by several values can be looked at then."""
    found: list[BundleError] = []
    check(value, where, found.append)
    for error in found:
        report(error)
    return not found


def member(where: str, name: str) -> str:
    """The JSON path of a member: `linux.sysctl`, or `annotations["a.b"]` where the name is not a plain word."""
    if name.isidentifier():
        return f"{where}.{name}" if where else name
    return f"{where}[{quoted(name)}]"
