"""What follows when a file of a cgroup cannot be written: another file that means the same, nothing, or an error that names the property.

Imported only then: a container whose limits are all taken does not pay for it.
"""

from __future__ import annotations

import errno

from crate_runc.cgroup import files
from crate_runc.cgroup.resources import SPECIAL
from crate_runc.errors import CgroupError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.resources import Write

_DELEGATE = (
    "to delegate it to users, root runs `systemctl edit user@.service`, adds the lines `[Service]` and"
    " `Delegate=cpu cpuset io memory pids`, and the user logs in again"
)
# (file, value) that lift a limit which a kernel without the file does not have
_NO_LIMIT = (
    ("memory.memsw.limit_in_bytes", "-1"),
    ("memory.kmem.limit_in_bytes", "-1"),
    ("memory.kmem.tcp.limit_in_bytes", "-1"),
    ("memory.use_hierarchy", "1"),
    ("memory.swap.max", "max"),
    ("memory.swap.max", "0"),
    ("cpu.idle", "0"),
    ("cpu.cfs_burst_us", "0"),
    ("cpu.max.burst", "0"),
)
_PROPERTIES = {
    "pids.max": "pids.limit",
    "memory.limit_in_bytes": "memory.limit",
    "memory.max": "memory.limit",
    "memory.memsw.limit_in_bytes": "memory.swap",
    "memory.swap.max": "memory.swap",
    "memory.soft_limit_in_bytes": "memory.reservation",
    "memory.low": "memory.reservation",
    "memory.kmem.limit_in_bytes": "memory.kernel",
    "memory.kmem.tcp.limit_in_bytes": "memory.kernelTCP",
    "memory.swappiness": "memory.swappiness",
    "memory.oom_control": "memory.disableOOMKiller",
    "memory.use_hierarchy": "memory.useHierarchy",
    "cpu.shares": "cpu.shares",
    "cpu.weight": "cpu.shares",
    "cpu.rt_period_us": "cpu.realtimePeriod",
    "cpu.rt_runtime_us": "cpu.realtimeRuntime",
    "cpu.cfs_period_us": "cpu.period",
    "cpu.cfs_quota_us": "cpu.quota",
    "cpu.max": "cpu.quota",
    "cpu.cfs_burst_us": "cpu.burst",
    "cpu.max.burst": "cpu.burst",
    "cpu.idle": "cpu.idle",
    "cpuset.cpus": "cpu.cpus",
    "cpuset.mems": "cpu.mems",
}


def property_of(resources: dict[str, Any], mode: str, file: str, value: str) -> str:
    """The JSON path of what asks for this write."""
    if any(resources.get(name) for name in SPECIAL):
        from crate_runc.cgroup import special_resources

        for _, other, written, where in special_resources.writes(resources, mode):
            if (other, written) == (file, value):
                return where
    name = _PROPERTIES.get(file, "")
    if name == "cpu.quota" and "quota" not in resources.get("cpu", {}):
        name = "cpu.period"
    return f"linux.resources.{name}" if name else "linux.resources"


def settle(directory: str, write: Write, cause: OSError, resources: dict[str, Any], mode: str) -> None:
    """The kernel refused `write`: do what means the same, or raise CgroupError where there is nothing."""
    controller, file, value = write
    try:
        if cause.errno == errno.ENOENT:
            _without(directory, file, value)
            return
    except OSError as error:
        cause = error
    where = property_of(resources, mode, file, value)
    if cause.errno == errno.ENOENT:
        raise CgroupError(f"{where}: set {file} in cgroup {directory}: {_lacking(directory, controller, mode)}")
    raise CgroupError(f"{where}: set {file} to {value} in cgroup {directory}: {_why(directory, file, cause)}")


def _without(directory: str, file: str, value: str) -> None:
    """The kernel has no such file. Raises FileNotFoundError where that matters, and OSError."""
    if (file, value) in _NO_LIMIT or ".rsvd." in file:
        return
    other = None
    if file.startswith(("io.", "blkio.")):
        from crate_runc.cgroup import block_io

        other = block_io.other_file(file, value)
    if other is None:
        raise FileNotFoundError(errno.ENOENT, file)
    files.write(directory, *other)


def _lacking(directory: str, controller: str, mode: str) -> str:
    if mode == "v2" and controller not in files.read(directory, "cgroup.controllers").split():
        return f"the controller {controller} is not handed down to it; {_DELEGATE}"
    return "this kernel has no such file"


def _why(directory: str, file: str, cause: OSError) -> str:
    if cause.errno == errno.EBUSY and file == "memory.limit_in_bytes":
        return f"{files.read(directory, 'memory.usage_in_bytes').strip()} bytes are in use and cannot be given back"
    if cause.errno == errno.ENODEV:
        return "there is no such device"
    if cause.errno == errno.EOPNOTSUPP:
        return "this kernel does not limit it"
    return reason(cause)
