"""Properties of a container's scope: from the cgroup files that linux.resources asks for, and from annotations. Pure.

systemd.resource-control(5), org.freedesktop.systemd1(5), and runc's docs/systemd.md for the annotations. systemd must know the limits, because it writes
them again when its own configuration is loaded anew. What it has no property for is written to the cgroup's files alone; so are device rules: the cgroup's
eBPF program stays, whatever systemd does, and DeviceAllow cannot say all that config.json can.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.systemd import variants

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Property = tuple[str, tuple[str, Any]]  # name, (signature, value)
    Write = tuple[str, str, str]

INFINITY = (1 << 64) - 1
_AMOUNTS = {
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.max": "MemoryMax",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}
_SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}
_SINCE = {"cpu.max": 242, "cpuset.cpus": 244, "cpuset.mems": 244, "cpu.idle": 252, "memory.oom.group": 253}
_DEFAULT_PERIOD = 100_000
_PERCENT = 10_000  # microseconds per second: the step in which systemd writes a quota down
_ANNOTATION = "org.systemd.property."


def of_scope(slice: str, container_id: str, pid: int) -> list[Property]:
    """Whatever its limits. Everything is accounted for, as with cgroupfs, and a failed unit (its program ran out of memory) goes by itself."""
    return [
        ("Description", ("s", f"crate-runc container {container_id}")),
        ("Slice", ("s", slice)),
        ("Delegate", ("b", True)),
        ("PIDs", ("au", [pid])),
        *((f"{name}Accounting", ("b", True)) for name in ("CPU", "IO", "Memory", "Tasks")),
        ("DefaultDependencies", ("b", False)),
        ("CollectMode", ("s", "inactive-or-failed")),
    ]


def of_limits(writes: list[Write], version: int, *, starting: bool) -> list[Property]:
    """`version` is systemd's. What can be set only when the unit starts is left out otherwise. Raises BundleError."""
    wanted = {file: value.strip() for _, file, value in writes}  # the last one counts, as with the files
    idle = wanted.get("cpu.idle") == "1" and version >= _SINCE["cpu.idle"]
    found: list[Property] = []
    for file, value in wanted.items():
        try:
            if version >= _SINCE.get(file, 0):
                found += _of_file(file, value, idle=idle, starting=starting)
        except ValueError:
            raise BundleError("linux.resources", f"{file}: systemd cannot be told {value!r}") from None
    return found


def _of_file(file: str, value: str, *, idle: bool, starting: bool) -> list[Property]:
    if file in _AMOUNTS:
        amount = INFINITY if value == "max" else int(value)
        if file == "pids.max":
            amount = max(amount, 1)  # systemd takes 0 for a mistake
        return [(_AMOUNTS[file], ("t", amount))]
    if file in _SETS:
        return [(_SETS[file], ("ay", bits_of(value)))]
    if file == "cpu.max":
        return _quota(value)
    if file == "cpu.weight":
        return [] if idle else [("CPUWeight", ("t", int(value)))]
    if file == "cpu.idle":
        return [("CPUWeight", ("t", 0))] if idle else []
    if file == "io.weight" and ":" not in value:
        return [("IOWeight", ("t", int(value.removeprefix("default"))))]
    if file == "memory.oom.group" and starting:
        return [("OOMPolicy", ("s", "kill" if int(value) else "continue"))]
    return []


def _quota(value: str) -> list[Property]:
    quota, _, period = value.partition(" ")
    length = int(period) if period else _DEFAULT_PERIOD
    per_second = INFINITY if quota == "max" else whole_percent(int(quota), length)
    return [("CPUQuotaPeriodUSec", ("t", length)), ("CPUQuotaPerSecUSec", ("t", per_second))]


def whole_percent(quota: int, period: int) -> int:
    """Microseconds of processor time per second, rounded up: systemd keeps whole percents."""
    return -(-quota * 1_000_000 // (period * _PERCENT)) * _PERCENT


def settled(resources: dict[str, Any]) -> dict[str, Any]:
    """linux.resources as systemd will hold them, to be written to the files as well, so that it does not matter who writes last."""
    cpu = dict(resources.get("cpu", {}))
    quota, period = cpu.get("quota", 0), cpu.get("period") or _DEFAULT_PERIOD
    if quota > 0:
        cpu["quota"] = whole_percent(quota, period) * period // 1_000_000
    if cpu.get("idle") == 1:
        cpu.pop("shares", None)  # the kernel gives an idle cgroup no weight
    return {**resources, "cpu": cpu} if cpu else resources


def bits_of(ranges: str) -> list[int]:
    """`0-2,5` → a bit mask, lowest byte first. Raises ValueError."""
    mask = 0
    for part in ranges.split(","):
        if part.strip():
            first, _, last = part.partition("-")
            low, high = int(first), int(last or first)
            if not 0 <= low <= high < 1 << 16:
                raise ValueError(part)
            mask |= (1 << high + 1) - (1 << low)
    if not mask:
        raise ValueError("an empty set")
    return list(mask.to_bytes((mask.bit_length() + 7) // 8, "little"))


def of_annotations(annotations: dict[str, str]) -> list[Property]:
    """`org.systemd.property.TimeoutStopSec: "uint64 30"`: a value in GVariant's text format; NameSec becomes NameUSec. Raises BundleError."""
    found = []
    for key, text in annotations.items():
        if not key.startswith(_ANNOTATION):
            continue
        name = key.removeprefix(_ANNOTATION)
        where = f"annotations.{key}"
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise BundleError(where, "no name of a systemd property: it has at least three letters, and nothing else")
        try:
            variant = variants.parse(text)
        except variants.VariantError as error:
            raise BundleError(where, f"{text!r}: {error}") from None
        if name.endswith("Sec") and name[-4:-3].islower():
            name, variant = f"{name[:-3]}USec", ("t", _microseconds(where, variant))
        found.append((name, variant))
    return found


def _microseconds(where: str, variant: tuple[str, Any]) -> int:
    signature, value = variant
    if signature not in tuple("ynqiuxtd") or not 0 <= value * 1_000_000 <= INFINITY:
        raise BundleError(where, "a number of seconds is needed")
    return int(value * 1_000_000)
