"""Undo writes to a cgroup when one after them fails: what a file says before, in the form in which it is written.

Files with a line per device (cgroup-v1/blkio-controller, cgroup-v2, rdma) get the line of that device back, or the word that removes it.
"""

from __future__ import annotations

from crate_runc.cgroup import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.cgroup.resources import Write

    Undo = tuple[str, str, str]  # directory, file, value

# file: what a device gets that has no line
_NONE = {
    "io.max": "rbps=max wbps=max riops=max wiops=max",
    "io.weight": "default",
    "io.bfq.weight": "default",
    "blkio.weight_device": "default",
    "blkio.bfq.weight_device": "default",
    "blkio.leaf_weight_device": "default",
    "blkio.throttle.read_bps_device": "0",
    "blkio.throttle.write_bps_device": "0",
    "blkio.throttle.read_iops_device": "0",
    "blkio.throttle.write_iops_device": "0",
    "rdma.max": "hca_handle=max hca_object=max",
    "net_prio.ifpriomap": "0",
}
# what is written where a host has no such file
_OTHERS = {
    "io.bfq.weight": ("io.weight",),
    "blkio.weight": ("blkio.bfq.weight",),
    "blkio.weight_device": ("blkio.bfq.weight_device",),
}


def remember(wanted: list[Write], directories: dict[str, str]) -> list[Undo]:
    """The writes that undo `wanted`, last first. What cannot be read is not written either."""
    undo = []
    for controller, file, value in wanted:
        for name in (file, *_OTHERS.get(file, ())):
            try:
                undo.append((directories[controller], name, former(name, value, files.read(directories[controller], name))))
            except (OSError, KeyError):
                continue
    return undo[::-1]


def former(file: str, value: str, text: str) -> str:
    """The value to write to get `text` back after `value` was written."""
    lines = text.splitlines() or [""]
    if file == "memory.oom_control":
        return lines[0].split()[-1]
    device, rest, _ = value.partition(" ")
    if not rest or file not in _NONE:
        return lines[0]
    return next((line for line in lines if line.startswith(f"{device} ")), f"{device} {_NONE[file]}")


def restore(undo: list[Undo]) -> None:
    """As far as the kernel lets; twice, since one value may have to wait for another."""
    for directory, file, value in undo * 2:
        try:
            files.write(directory, file, value)
        except OSError:
            continue
