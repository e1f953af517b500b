"""linux.resources as writes to the files of controllers: OCI runtime-spec 1.3 config-linux.md and the kernel's cgroup-v1 and cgroup-v2 documents. Pure.

config.json speaks the language of v1. On v2 shares become a weight, a limit of memory and swap together becomes one of swap alone, and -1 is
`max`; what v2 has no word for is Unsupported. 0 asks for nothing, as with runc, because callers write it for "not set", but for pids, swappiness,
burst and idle. Device rules are no files on v2: see device_rules. What few containers ask for is in special_resources.
"""

from __future__ import annotations

from crate_runc.errors import BundleError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Write = tuple[str, str, str]  # controller, file, value

SPECIAL = ("blockIO", "hugepageLimits", "network", "rdma", "unified")
_WHERE = "linux.resources"
_MIN_SHARES, _MAX_SHARES = 2, 262144
_DEFAULT_PERIOD = 100000


def writes(resources: dict[str, Any], mode: str) -> list[Write]:
    """In the order in which the kernel takes them for a new cgroup. Raises BundleError where the mode or the values do not allow it."""
    if mode == "v2":
        chosen = _pids(resources) + _memory_v2(resources) + _cpu_v2(resources) + _cpuset(resources)
    else:
        chosen = _pids(resources) + _memory_v1(resources) + _cpu_v1(resources) + _cpuset(resources)
    if any(resources.get(name) for name in SPECIAL):
        from crate_runc.cgroup import special_resources

        chosen += [(controller, file, value) for controller, file, value, _ in special_resources.writes(resources, mode)]
    return chosen


def _pids(resources: dict[str, Any]) -> list[Write]:
    """0 is a limit here: the spec says so, and the kernel means it."""
    limit = resources.get("pids", {}).get("limit")
    return [] if limit is None else [("pids", "pids.max", _or_max(limit))]


def _memory_v1(resources: dict[str, Any]) -> list[Write]:
    memory = resources.get("memory", {})
    limit, swap = memory.get("limit", 0), memory.get("swap", 0)
    if limit == -1 and not swap:
        swap = -1  # unlimited memory under a swap limit would be no use
    _check_swap(limit, swap)
    found = [
        ("memory.limit_in_bytes", limit),
        ("memory.memsw.limit_in_bytes", swap),
        ("memory.soft_limit_in_bytes", memory.get("reservation", 0)),
        ("memory.kmem.limit_in_bytes", memory.get("kernel", 0)),
        ("memory.kmem.tcp.limit_in_bytes", memory.get("kernelTCP", 0)),
    ]
    chosen = [("memory", file, str(value)) for file, value in found if value]
    if "useHierarchy" in memory:  # before a limit is set, while no cgroup is below
        chosen.insert(0, ("memory", "memory.use_hierarchy", str(int(memory["useHierarchy"]))))
    if "swappiness" in memory:
        chosen.append(("memory", "memory.swappiness", str(memory["swappiness"])))
    if memory.get("disableOOMKiller"):
        chosen.append(("memory", "memory.oom_control", "1"))
    return chosen


def _memory_v2(resources: dict[str, Any]) -> list[Write]:
    memory = resources.get("memory", {})
    _refuse_v1_words(memory)
    limit, swap, reservation = memory.get("limit", 0), memory.get("swap", 0), memory.get("reservation", 0)
    chosen = []
    if limit == -1 and not swap:
        swap = -1
    _check_swap(limit, swap)
    if swap > 0 and not limit:
        raise BundleError(f"{_WHERE}.memory.swap", "needs memory.limit, because cgroup v2 counts swap by itself")
    if swap:
        chosen.append(("memory", "memory.swap.max", str(swap - limit) if swap > 0 and limit > 0 else _or_max(swap)))
    if limit:
        chosen.append(("memory", "memory.max", _or_max(limit)))
    if reservation:
        chosen.append(("memory", "memory.low", _or_max(reservation)))
    return chosen


def _refuse_v1_words(memory: dict[str, Any]) -> None:
    """v2 knows neither the limits nor the switches; unlimited is what it has."""
    for name, asks in (
        ("kernel", memory.get("kernel", 0) > 0),
        ("kernelTCP", memory.get("kernelTCP", 0) > 0),
        ("swappiness", "swappiness" in memory),
        ("disableOOMKiller", memory.get("disableOOMKiller", False)),
    ):
        if asks:
            raise Unsupported(f"{_WHERE}.memory.{name}", "cgroup v2 has nothing like it")
    if memory.get("useHierarchy") is False:
        raise Unsupported(f"{_WHERE}.memory.useHierarchy", "on cgroup v2 a cgroup always counts those below it")


def _check_swap(limit: int, swap: int) -> None:
    if 0 < swap < limit:
        raise BundleError(
            f"{_WHERE}.memory.swap", f"{swap} is memory and swap together, so it cannot be less than memory.limit, {limit}"
        )


def _check_burst(cpu: dict[str, Any]) -> None:
    if 0 < cpu.get("quota", 0) < cpu.get("burst", 0):
        raise BundleError(f"{_WHERE}.cpu.burst", f"{cpu['burst']} is more than cpu.quota, {cpu['quota']}")


def _cpu_v1(resources: dict[str, Any]) -> list[Write]:
    cpu = resources.get("cpu", {})
    _check_burst(cpu)
    shares = cpu.get("shares", 0)
    if shares and not _MIN_SHARES <= shares <= _MAX_SHARES:
        raise BundleError(f"{_WHERE}.cpu.shares", f"must be from {_MIN_SHARES} to {_MAX_SHARES}, not {shares}")
    found = [
        ("cpu.shares", shares),
        ("cpu.rt_period_us", cpu.get("realtimePeriod", 0)),
        ("cpu.rt_runtime_us", cpu.get("realtimeRuntime", 0)),
        ("cpu.cfs_period_us", cpu.get("period", 0)),
        ("cpu.cfs_quota_us", cpu.get("quota", 0)),
    ]
    chosen = [("cpu", file, str(value)) for file, value in found if value]
    return chosen + [
        ("cpu", file, str(cpu[name])) for name, file in (("burst", "cpu.cfs_burst_us"), ("idle", "cpu.idle")) if name in cpu
    ]


def _cpu_v2(resources: dict[str, Any]) -> list[Write]:
    cpu = resources.get("cpu", {})
    _check_burst(cpu)
    for name in ("realtimePeriod", "realtimeRuntime"):
        if cpu.get(name):
            raise Unsupported(f"{_WHERE}.cpu.{name}", "cgroup v2 has nothing like it")
    chosen = []
    if cpu.get("shares"):
        chosen.append(("cpu", "cpu.weight", str(weight_of(cpu["shares"]))))
    if cpu.get("quota") or cpu.get("period"):
        quota = cpu.get("quota", 0)
        chosen.append(("cpu", "cpu.max", f"{quota if quota > 0 else 'max'} {cpu.get('period') or _DEFAULT_PERIOD}"))
    return chosen + [
        ("cpu", file, str(cpu[name])) for name, file in (("burst", "cpu.max.burst"), ("idle", "cpu.idle")) if name in cpu
    ]


def weight_of(shares: int) -> int:
    """cpu.shares (2 … 262144, default 1024) → cpu.weight (1 … 10000, default 100): the curve that runc and crun agreed on in 2025.

    It meets both ends and the default; the older linear formula gave a default container a weight of 39.
    """
    if shares <= _MIN_SHARES:
        return 1
    if shares >= _MAX_SHARES:
        return 10000
    from math import ceil, log2

    power = log2(shares)
    exponent = (power * power + 125 * power) / 612 - 7 / 34
    return ceil(10**exponent)


def _cpuset(resources: dict[str, Any]) -> list[Write]:
    cpu = resources.get("cpu", {})
    return [("cpuset", f"cpuset.{name}", cpu[name]) for name in ("cpus", "mems") if cpu.get(name)]


def _or_max(value: int) -> str:
    return "max" if value < 0 else str(value)
