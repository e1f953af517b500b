"""Images that are not named by a registry: `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, as podman and skopeo have them.

Pure (containers-transports(5)). `docker://NAME` is a registry's after all; other transports of theirs are not understood.
"""

from __future__ import annotations

from crate_engine.errors import UsageError
from crate_engine.values import dataclass

OCI, OCI_ARCHIVE, DOCKER_ARCHIVE = "oci", "oci-archive", "docker-archive"
_KINDS = (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE)
_OTHERS = ("dir", "containers-storage", "docker-daemon", "ostree", "sif")
_REGISTRY = "docker://"


@dataclass(frozen=True, slots=True)
class Place:
    kind: str
    path: str
    label: str | None
    """Which image in it, or what it is to be called there."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.path}" + (f":{self.label}" if self.label else "")


def parse(text: str) -> Place | None:
    """None for the name of an image. Raises UsageError."""
    kind, colon, rest = text.partition(":")
    if not colon or text.startswith(_REGISTRY):
        return None
    if kind in _OTHERS and (rest.startswith("/") or not rest.isdigit()) and "/" in rest:
        raise UsageError(
            f"image {text}: {kind}: is not supported", hint=f"there are docker://, {', '.join(f'{one}:' for one in _KINDS)}"
        )
    if kind not in _KINDS:
        return None
    path, _, label = rest.partition(":")
    if not path:
        raise UsageError(f"image {text}: a path has to follow {kind}:")
    return Place(kind, path, label or None)


def plain(text: str) -> str:
    """A registry's name without `docker://`."""
    return text.removeprefix(_REGISTRY)
