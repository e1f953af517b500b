"""The figures of a container on cgroup v2 (the kernel's cgroup-v2 and PSI documents), under the names that runc took from v1."""

from __future__ import annotations

from crate_runc.cgroup import statistics
from crate_runc.cgroup.statistics import UNLIMITED, number, pairs, pressure, text, without_zeros

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Figures = dict[str, Any]

_MICROSECOND = 1000  # in nanoseconds
# key in io.stat: (member, operation)
_BLOCK_IO = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def read(directory: str) -> Figures:
    return statistics.assemble(
        cpu=_cpu(directory),
        cpuset=statistics.cpuset(directory, flags=False),
        memory=_memory(directory),
        pids=_pids(directory),
        blkio=_block_io(directory),
        hugetlb=_huge_pages(directory),
    )


def _cpu(directory: str) -> Figures:
    found = pairs(text(directory, "cpu.stat"))
    usage = {
        "total": found.get("usage_usec", 0) * _MICROSECOND,
        "kernel": found.get("system_usec", 0) * _MICROSECOND,
        "user": found.get("user_usec", 0) * _MICROSECOND,
    }
    throttling = {
        "periods": found.get("nr_periods", 0),
        "throttledPeriods": found.get("nr_throttled", 0),
        "throttledTime": found.get("throttled_usec", 0) * _MICROSECOND,
    }
    figures = {"usage": without_zeros(usage, "kernel", "user"), "throttling": without_zeros(throttling)}
    return figures | _pressure(directory, "cpu")


def _pressure(directory: str, resource: str) -> Figures:
    found = pressure(text(directory, f"{resource}.pressure"))
    return {"psi": found} if found else {}


def _memory(directory: str) -> Figures:
    """v1 counts memory and swap together, and so does this."""
    raw = pairs(text(directory, "memory.stat"))
    usage, limit = number(directory, "memory.current"), number(directory, "memory.max")
    swap: Figures = {"limit": 0, "failcnt": 0}
    if text(directory, "memory.swap.current"):
        swap_limit = number(directory, "memory.swap.max")
        swap = {
            "limit": UNLIMITED if UNLIMITED in (limit, swap_limit) else limit + swap_limit,
            "usage": usage + number(directory, "memory.swap.current"),
            "failcnt": 0,
        }
    figures = {
        "cache": raw.get("file", 0),
        "usage": without_zeros(
            {"limit": limit, "usage": usage, "max": number(directory, "memory.peak"), "failcnt": 0}, "limit", "failcnt"
        ),
        "swap": without_zeros(swap, "limit", "failcnt"),
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": raw,
    }
    return without_zeros(figures) | _pressure(directory, "memory")


def _pids(directory: str) -> Figures:
    current = number(directory, "pids.current") or len(text(directory, "cgroup.procs").splitlines())
    limit = number(directory, "pids.max")
    return without_zeros({"current": current, "limit": 0 if limit == UNLIMITED else limit})


def _block_io(directory: str) -> Figures:
    found: Figures = {}
    for line in text(directory, "io.stat").splitlines():
        device, *words = line.split()
        major, colon, minor = device.partition(":")
        for word in words if colon else ():
            key, _, value = word.partition("=")
            if key in _BLOCK_IO:
                member, operation = _BLOCK_IO[key]
                entry = {"major": int(major), "minor": int(minor), "op": operation, "value": int(value)}
                found.setdefault(member, []).append(without_zeros(entry))
    return found | _pressure(directory, "io")


def _huge_pages(directory: str) -> Figures:
    """Of reserved pages, where the kernel counts them; nothing where the controller is not handed down."""
    found = {}
    for size in statistics.huge_page_sizes():
        used = text(directory, f"hugetlb.{size}.rsvd.current") or text(directory, f"hugetlb.{size}.current")
        if used:
            events = pairs(text(directory, f"hugetlb.{size}.events"))
            found[size] = without_zeros({"usage": int(used), "failcnt": events.get("max", 0)}, "failcnt")
    return found
