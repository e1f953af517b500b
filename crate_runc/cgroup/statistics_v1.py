"""The figures of a container on cgroup v1: the kernel's cgroup-v1 documents (cpuacct, memory, blkio-controller, hugetlb, pids, cpusets)."""

from __future__ import annotations

from crate_runc.cgroup import statistics
from crate_runc.cgroup.statistics import number, pairs, text, without_zeros

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Figures = dict[str, Any]

_TICK = 10_000_000  # nanoseconds of USER_HZ
# member: what follows "blkio.", "blkio.bfq." or "blkio.throttle." and precedes "_recursive"
_BLOCK_IO = {
    "ioServiceBytesRecursive": "io_service_bytes",
    "ioServicedRecursive": "io_serviced",
    "ioQueueRecursive": "io_queued",
    "ioServiceTimeRecursive": "io_service_time",
    "ioWaitTimeRecursive": "io_wait_time",
    "ioMergedRecursive": "io_merged",
    "ioTimeRecursive": "time",
    "sectorsRecursive": "sectors",
}


def read(paths: dict[str, str]) -> Figures:
    """A controller that the host has not mounted counts nothing."""
    return statistics.assemble(
        cpu={"usage": _cpu_usage(paths.get("cpuacct", "")), "throttling": _throttling(paths.get("cpu", ""))},
        cpuset=statistics.cpuset(paths.get("cpuset", ""), flags=True),
        memory=_memory(paths.get("memory", "")),
        pids=_pids(paths.get("pids", "")),
        blkio=_block_io(paths.get("blkio", "")),
        hugetlb=_huge_pages(paths["hugetlb"]) if "hugetlb" in paths else {},
    )


def _cpu_usage(directory: str) -> Figures:
    modes = pairs(text(directory, "cpuacct.stat"))
    each = [[int(word) for word in line.split()] for line in text(directory, "cpuacct.usage_all").splitlines()[1:]]
    usage = {
        "total": number(directory, "cpuacct.usage"),
        "percpu": [int(word) for word in text(directory, "cpuacct.usage_percpu").split()],
        "percpu_kernel": [line[2] for line in each],
        "percpu_user": [line[1] for line in each],
        "kernel": modes.get("system", 0) * _TICK,
        "user": modes.get("user", 0) * _TICK,
    }
    return without_zeros(usage, "kernel", "user")


def _throttling(directory: str) -> Figures:
    found = pairs(text(directory, "cpu.stat"))
    names = {"periods": "nr_periods", "throttledPeriods": "nr_throttled", "throttledTime": "throttled_time"}
    return without_zeros({name: found.get(line, 0) for name, line in names.items()})


def _memory(directory: str) -> Figures:
    raw = pairs(text(directory, "memory.stat"))
    figures = {
        "cache": raw.get("cache", 0),
        "usage": _entry(directory, "memory"),
        "swap": _entry(directory, "memory.memsw"),
        "kernel": _entry(directory, "memory.kmem"),
        "kernelTCP": _entry(directory, "memory.kmem.tcp"),
        "raw": raw,
    }
    return without_zeros(figures)


def _entry(directory: str, prefix: str) -> Figures:
    entry = {
        "limit": number(directory, f"{prefix}.limit_in_bytes"),
        "usage": number(directory, f"{prefix}.usage_in_bytes"),
        "max": number(directory, f"{prefix}.max_usage_in_bytes"),
        "failcnt": number(directory, f"{prefix}.failcnt"),
    }
    return without_zeros(entry, "limit", "failcnt")


def _pids(directory: str) -> Figures:
    limit = number(directory, "pids.max")
    current = number(directory, "pids.current")
    return without_zeros({"current": current, "limit": 0 if limit == statistics.UNLIMITED else limit})


def _block_io(directory: str) -> Figures:
    """Of the first scheduler that counts bytes: BFQ, CFQ, or the throttling below both."""
    for prefix, suffix in (
        ("blkio.bfq.", "_recursive"),
        ("blkio.", "_recursive"),
        ("blkio.throttle.", "_recursive"),
        ("blkio.throttle.", ""),
    ):
        found = {member: _entries(text(directory, f"{prefix}{name}{suffix}")) for member, name in _BLOCK_IO.items()}
        if any(found.values()):
            return without_zeros(found)
    return {}


def _entries(lines: str) -> list[Figures]:
    """`8:0 Read 1282048`, `8:0 6792`; the last line is the sum of all."""
    entries = []
    for line in lines.splitlines():
        device, *rest = line.split()
        major, colon, minor = device.partition(":")
        if colon:
            *operation, value = rest
            entry = {"major": int(major), "minor": int(minor), "op": "".join(operation), "value": int(value)}
            entries.append(without_zeros(entry))
    return entries


def _huge_pages(directory: str) -> Figures:
    """Of reserved pages, where the kernel counts them."""
    found = {}
    for size in statistics.huge_page_sizes():
        prefix = f"hugetlb.{size}.rsvd" if text(directory, f"hugetlb.{size}.rsvd.usage_in_bytes") else f"hugetlb.{size}"
        entry = {
            "usage": number(directory, f"{prefix}.usage_in_bytes"),
            "max": number(directory, f"{prefix}.max_usage_in_bytes"),
            "failcnt": number(directory, f"{prefix}.failcnt"),
        }
        found[size] = without_zeros(entry, "failcnt")
    return found
