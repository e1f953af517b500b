"""Pause and resume a container's cgroup: the freezer controller of v1, or `cgroup.freeze` of cgroup2 (the kernel's freezer-subsystem and
cgroup-v2 documents).

What is frozen is read from the kernel and kept nowhere else, so that `state` tells the truth whoever froze it. On v1 a signal, and be it KILL,
waits until the cgroup is thawed; on cgroup2 KILL ends frozen processes.
"""

from __future__ import annotations

import errno
import time

from crate_runc.cgroup import files
from crate_runc.errors import CgroupError, reason
from crate_runc.host import UNIFIED
from crate_runc.state.paused import is_frozen as is_frozen

_SECONDS = 10.0
_POLL_SECONDS = 0.001
_GONE = (errno.ENOENT, errno.ENODEV)


def freeze(paths: dict[str, str]) -> None:
    """Returns when all processes stand still. Raises CgroupError where that cannot be, or takes more than ten seconds; then none does."""
    deadline = time.monotonic() + _SECONDS
    try:
        while not _freeze(paths):
            if time.monotonic() > deadline:
                raise CgroupError("freeze the cgroup of the container: its processes do not stand still")
            time.sleep(_POLL_SECONDS)
    except BaseException:
        thaw(paths)
        raise


def _freeze(paths: dict[str, str]) -> bool:
    """Ask once. A v1 cgroup in which processes start meanwhile must be asked again."""
    try:
        if "freezer" in paths:
            files.write(paths["freezer"], "freezer.state", "FROZEN")
            return files.read(paths["freezer"], "freezer.state").startswith("FROZEN")
        if UNIFIED in paths:
            files.write(paths[UNIFIED], "cgroup.freeze", "1")
            return "frozen 1" in files.read(paths[UNIFIED], "cgroup.events").splitlines()
    except OSError as error:
        if error.errno not in _GONE:
            raise CgroupError(f"freeze the cgroup of the container: {reason(error)}") from None
        raise CgroupError("freeze the cgroup of the container: it is gone, or this kernel cannot freeze it") from None
    raise CgroupError("freeze the cgroup of the container: it has none; run as root, or let systemd delegate one (Delegate=yes)")


def thaw(paths: dict[str, str]) -> None:
    """What is gone needs no thawing. Raises CgroupError."""
    try:
        if "freezer" in paths:
            files.write(paths["freezer"], "freezer.state", "THAWED")
        elif UNIFIED in paths:
            files.write(paths[UNIFIED], "cgroup.freeze", "0")
    except OSError as error:
        if error.errno not in _GONE:
            raise CgroupError(f"thaw the cgroup of the container: {reason(error)}") from None
