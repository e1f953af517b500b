"""How a container's root is put together from its image's layers: an overlay, fuse-overlayfs, or as the last resort a copy.

Decided once, when the container is created, from facts of the host, and written into its record. The monitor mounts it.
"""

from __future__ import annotations

import ctypes
import os

from crate_engine.errors import HostError
from crate_engine.system.libc import call

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OVERLAY, FUSE, COPY = "overlay", "fuse-overlayfs", "copy"
_OVERLAY_IN_USER_NAMESPACE = (5, 11)
# File systems whose directories cannot be an overlay's upper directory: overlayfs itself, NFS, FUSE without whiteouts, SMB, CIFS, 9p, Lustre.
_NO_UPPER = frozenset({0x794C7630, 0x6969, 0x65735546, 0x517B, 0xFF534D42, 0xFE534D42, 0x01021997, 0x0BD00BD0})
_FUSE_PROGRAMS = ("/usr/bin/fuse-overlayfs", "/usr/local/bin/fuse-overlayfs", "/bin/fuse-overlayfs")


def choose(directory: str, layers: list[str], *, rootless: bool) -> dict[str, Any]:
    """The snapshot of a container whose files are in `directory`: `kind`, `lower` (the lowest first) and for FUSE its `program`."""
    if _overlay_works(directory, rootless=rootless):
        return {"kind": OVERLAY, "lower": layers}
    if os.access("/dev/fuse", os.R_OK | os.W_OK):
        for program in _FUSE_PROGRAMS:
            if os.access(program, os.X_OK):
                return {"kind": FUSE, "lower": layers, "program": program}
    return {"kind": COPY, "lower": layers}


def prepare(directory: str, snapshot: dict[str, Any]) -> None:
    """Make the directories that the snapshot needs in the container's; a copy is filled by `fill`."""
    for name in ("rootfs",) if snapshot["kind"] == COPY else ("rootfs", "upper", "work"):
        os.mkdir(f"{directory}/{name}", 0o700)


def fill(snapshot: dict[str, Any], target: str) -> None:
    """Copy the layers over each other into `target`, in a process that may set owners. Raises HostError."""
    from crate_engine.layers.copy import copy_layers

    try:
        copy_layers(snapshot["lower"], target)
    except OSError as error:
        raise HostError(f"copy the image's layers: {error.filename}: {error.strerror}") from error


def _overlay_works(directory: str, *, rootless: bool) -> bool:
    if rootless and _kernel() < _OVERLAY_IN_USER_NAMESPACE:
        return False
    return _file_system(directory) not in _NO_UPPER and _has_overlay()


def _has_overlay() -> bool:
    """Built in or loaded; a module that is not loaded yet is loaded by root's mount(2), and only by root's."""
    with open("/proc/filesystems", encoding="ascii") as file:
        return "\toverlay\n" in file.read() or os.geteuid() == 0


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(digit for digit in minor if digit.isdigit()) or 0)


def _file_system(path: str) -> int:
    """The magic number of statfs(2), which os.statvfs does not give."""
    buffer = (ctypes.c_long * 32)()
    call("statfs", path, buffer, path=path)
    return int(buffer[0]) & 0xFFFFFFFF
