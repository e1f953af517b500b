"""linux.resources.blockIO: OCI runtime-spec 1.3 config-linux.md, and the kernel's cgroup-v1/blkio-controller and cgroup-v2 ("IO") documents. Pure.

Rates are files of v1 and lines of v2's io.max. A weight belongs to an I/O scheduler: BFQ, or CFQ before Linux 5.0, on v1; BFQ, or the cost
model behind io.weight with another scale, on v2. Which of them a host has shows only when the file is written: see `other_file`.
"""

from __future__ import annotations

from crate_runc.errors import Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.special_resources import PlacedWrite

_WHERE = "linux.resources.blockIO"
# property: (file of v1, key in io.max)
_RATES = {
    "throttleReadBpsDevice": ("blkio.throttle.read_bps_device", "rbps"),
    "throttleWriteBpsDevice": ("blkio.throttle.write_bps_device", "wbps"),
    "throttleReadIOPSDevice": ("blkio.throttle.read_iops_device", "riops"),
    "throttleWriteIOPSDevice": ("blkio.throttle.write_iops_device", "wiops"),
}


def writes(block_io: dict[str, Any], mode: str) -> list[PlacedWrite]:
    return _writes_v2(block_io) if mode == "v2" else _writes_v1(block_io)


def _writes_v1(block_io: dict[str, Any]) -> list[PlacedWrite]:
    chosen = [
        ("blkio", f"blkio.{file}", str(block_io[name]), f"{_WHERE}.{name}")
        for name, file in (("weight", "weight"), ("leafWeight", "leaf_weight"))
        if block_io.get(name)
    ]
    for index, entry in enumerate(block_io.get("weightDevice", ())):
        for name, file in (("weight", "weight_device"), ("leafWeight", "leaf_weight_device")):
            if entry.get(name):
                where = f"{_WHERE}.weightDevice[{index}].{name}"
                chosen.append(("blkio", f"blkio.{file}", f"{_device(entry)} {entry[name]}", where))
    for name, (file, _) in _RATES.items():
        for index, entry in enumerate(block_io.get(name, ())):
            chosen.append(("blkio", file, f"{_device(entry)} {entry['rate']}", f"{_WHERE}.{name}[{index}]"))
    return chosen


def _writes_v2(block_io: dict[str, Any]) -> list[PlacedWrite]:
    chosen = []
    if block_io.get("leafWeight"):
        raise Unsupported(f"{_WHERE}.leafWeight", "cgroup v2 has nothing like it")
    if block_io.get("weight"):
        chosen.append(("io", "io.bfq.weight", str(block_io["weight"]), f"{_WHERE}.weight"))
    for index, entry in enumerate(block_io.get("weightDevice", ())):
        where = f"{_WHERE}.weightDevice[{index}]"
        if entry.get("leafWeight"):
            raise Unsupported(f"{where}.leafWeight", "cgroup v2 has nothing like it")
        if entry.get("weight"):
            chosen.append(("io", "io.bfq.weight", f"{_device(entry)} {entry['weight']}", where))
    for name, (_, key) in _RATES.items():
        for index, entry in enumerate(block_io.get(name, ())):
            rate = entry["rate"] or "max"  # v1 lifts a limit by 0, which v2 refuses
            chosen.append(("io", "io.max", f"{_device(entry)} {key}={rate}", f"{_WHERE}.{name}[{index}]"))
    return chosen


def other_file(file: str, value: str) -> tuple[str, str] | None:
    """What to write where the host has no such file: the same weight of another scheduler, or None."""
    if file in ("blkio.weight", "blkio.weight_device"):
        return file.replace("blkio.", "blkio.bfq."), value
    if file != "io.bfq.weight":
        return None
    *device, weight = value.split()
    return "io.weight", " ".join([*device, str(cost_weight(int(weight)))])


def cost_weight(weight: int) -> int:
    """The scale of blkio and BFQ (10 … 1000) on that of io.weight (1 … 10000), as runc and crun have it."""
    return 1 + (weight - 10) * 9999 // 990


def _device(entry: dict[str, Any]) -> str:
    return f"{entry['major']}:{entry['minor']}"
