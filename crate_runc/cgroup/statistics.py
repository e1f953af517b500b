"""What a container's cgroup has used: the figures of runc's `events`, with the names of its JSON, read from the files of v1 or v2.

Sources: the kernel's cgroup-v1 and cgroup-v2 documents and its PSI document. A member whose value is 0 is left out where runc leaves it out, for
the sake of who compares. What the host does not count is 0.
"""

from __future__ import annotations

import os

from crate_runc.cgroup import files
from crate_runc.errors import CgroupError
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Figures = dict[str, Any]

UNLIMITED = (1 << 64) - 1  # what runc prints for `max`
_HUGE_PAGES = "/sys/kernel/mm/hugepages"
_CPUSET_FLAGS = (
    "cpu_exclusive",
    "mem_hardwall",
    "mem_exclusive",
    "memory_migrate",
    "memory_spread_page",
    "memory_spread_slab",
    "memory_pressure",
    "sched_load_balance",
    "sched_relax_domain_level",
)


def read(paths: dict[str, str], mode: str) -> Figures:
    """`paths` is what the container's state keeps. Raises CgroupError where there is no cgroup (any more)."""
    if not paths or not any(os.path.isdir(directory) for directory in paths.values()):
        raise CgroupError("read the figures of the container: it has no cgroup")
    if mode == "v2":
        from crate_runc.cgroup import statistics_v2

        return statistics_v2.read(paths[UNIFIED])
    from crate_runc.cgroup import statistics_v1

    return statistics_v1.read(paths)


def assemble(*, cpu: Figures, cpuset: Figures, memory: Figures, pids: Figures, blkio: Figures, hugetlb: Figures) -> Figures:
    """All that runc prints. intel_rdt and network_interfaces are not the cgroup's: runc has figures there only where it made what they count."""
    return {
        "cpu": cpu,
        "cpuset": cpuset,
        "memory": memory,
        "pids": pids,
        "blkio": blkio,
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": None,
    }


def without_zeros(figures: Figures, *kept: str) -> Figures:
    return {name: value for name, value in figures.items() if value or name in kept}


def text(directory: str, file: str) -> str:
    """ "" where the host has no such file."""
    try:
        return files.read(directory, file)
    except OSError:
        return ""


def number(directory: str, file: str) -> int:
    return count(text(directory, file).strip() or "0")


def count(word: str) -> int:
    """`max` is UNLIMITED; some counters of v1 can be below 0 for a moment."""
    return UNLIMITED if word == "max" else int(word)


def pairs(lines: str) -> dict[str, int]:
    """`name value` per line."""
    return {line.split()[0]: count(line.split()[1]) for line in lines.splitlines() if len(line.split()) == 2}


def cpuset(directory: str, *, flags: bool) -> Figures:
    """`flags` are files of v1 alone."""
    found: Figures = {name: number(directory, f"cpuset.{name}") if flags else 0 for name in _CPUSET_FLAGS}
    if flags:
        found = {**_lists(directory), **found}
    return found


def _lists(directory: str) -> Figures:
    found = {name: expand(text(directory, f"cpuset.{name}").strip()) for name in ("cpus", "mems")}
    return without_zeros(found)


def expand(ranges: str) -> list[int]:
    """`0-2,7` is [0, 1, 2, 7]."""
    found: list[int] = []
    for part in ranges.split(",") if ranges else ():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def huge_page_sizes() -> list[str]:
    """As the names of files have them: 64KB, 2MB, 1GB."""
    try:
        names = sorted(os.listdir(_HUGE_PAGES))
    except OSError:
        return []
    sizes = [int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names]
    return [f"{size >> 20}GB" if size >= 1 << 20 else f"{size >> 10}MB" if size >= 1 << 10 else f"{size}KB" for size in sizes]


def pressure(lines: str) -> Figures | None:
    """A pressure file as {"some": {"avg10": …, "total": …}, "full": …}; None where the kernel keeps none."""
    if not lines:
        return None
    found: Figures = {}
    for line in lines.splitlines():
        kind, *words = line.split()
        values = dict(word.split("=", 1) for word in words)
        found[kind] = {name: int(value) if name == "total" else _shortest(value) for name, value in values.items()}
    return found


def _shortest(value: str) -> int | float:
    """0.00 is printed as 0."""
    return int(float(value)) if float(value).is_integer() else float(value)
