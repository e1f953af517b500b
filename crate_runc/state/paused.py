"""Whether a container stands still, as the kernel tells it (the kernel's freezer-subsystem and cgroup-v2 documents). Apart from cgroup/freezer.py, as
`state` asks for nothing else of cgroups.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import CgroupError, reason

_UNIFIED = ""
_GONE = (errno.ENOENT, errno.ENODEV)


def is_frozen(paths: dict[str, str]) -> bool:
    """Whether someone asked for it, on v1 also for a cgroup above. `paths` is what the container's state keeps. Raises CgroupError."""
    try:
        if "freezer" in paths:
            return not _read(f"{paths['freezer']}/freezer.state").startswith(b"THAWED")
        return _UNIFIED in paths and _read(f"{paths[_UNIFIED]}/cgroup.freeze").startswith(b"1")
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise CgroupError(f"read whether the container is paused: {reason(error)}") from None


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64)
    finally:
        os.close(fd)
