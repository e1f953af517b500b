"""Documents of `inspect` as templates see them: which of their objects are maps, with keys of an author's choice. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAPS = frozenset(("Annotations", "Data", "ExposedPorts", "Labels", "Networks", "PortBindings", "Ports", "Sysctls", "Volumes"))


def with_maps(document: Any, *, free: bool = False) -> Any:
    """The same value with a `Map` for each of those."""
    from crate_engine.cli.template import Map

    if isinstance(document, dict):
        inner = {key: with_maps(value, free=key in _MAPS and not free) for key, value in document.items()}
        return Map(inner) if free else inner
    return [with_maps(value) for value in document] if isinstance(document, list) else document
