"""What of linux.resources few containers ask for: blockIO, hugepageLimits, network, rdma, unified; OCI runtime-spec 1.3 config-linux.md. Pure.

Imported only where one of them is there. The kernel's documents: cgroup-v1 (blkio-controller, hugetlb, net_cls, net_prio, rdma), cgroup-v2.
"""

from __future__ import annotations

from crate_runc.errors import Unsupported
from crate_runc.rules.shapes import member

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    PlacedWrite = tuple[str, str, str, str]  # controller, file, value, and the JSON path of the property

_WHERE = "linux.resources"


def writes(resources: dict[str, Any], mode: str) -> list[PlacedWrite]:
    """Raises Unsupported for what the mode cannot express. `unified` comes last: it is the most exact word."""
    chosen: list[PlacedWrite] = []
    if resources.get("blockIO"):
        from crate_runc.cgroup import block_io

        chosen += block_io.writes(resources["blockIO"], mode)
    chosen += _huge_pages(resources.get("hugepageLimits", ()), mode)
    chosen += _network(resources.get("network", {}), mode)
    chosen += _rdma(resources.get("rdma", {}))
    return chosen + _unified(resources.get("unified", {}), mode)


def _huge_pages(limits: list[dict[str, Any]], mode: str) -> list[PlacedWrite]:
    """Of pages in use, and of reserved ones, which a kernel before 5.7 does not count."""
    suffix = "max" if mode == "v2" else "limit_in_bytes"
    return [
        ("hugetlb", f"hugetlb.{limit['pageSize']}{kind}.{suffix}", str(limit["limit"]), f"{_WHERE}.hugepageLimits[{index}]")
        for index, limit in enumerate(limits)
        for kind in ("", ".rsvd")
    ]


def _network(network: dict[str, Any], mode: str) -> list[PlacedWrite]:
    chosen = []
    if network.get("classID"):
        chosen.append(("net_cls", "net_cls.classid", str(network["classID"]), f"{_WHERE}.network.classID"))
    for index, entry in enumerate(network.get("priorities", ())):
        value = f"{entry['name']} {entry['priority']}"
        chosen.append(("net_prio", "net_prio.ifpriomap", value, f"{_WHERE}.network.priorities[{index}]"))
    if chosen and mode == "v2":
        raise Unsupported(chosen[0][3], "cgroup v2 has nothing like it")
    return chosen


def _rdma(limits: dict[str, dict[str, Any]]) -> list[PlacedWrite]:
    chosen = []
    for device, limit in limits.items():
        words = [
            f"{word}={limit[name]}"
            for name, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if name in limit
        ]
        chosen.append(("rdma", "rdma.max", " ".join([device, *words]), member(f"{_WHERE}.rdma", device)))
    return chosen


def _unified(files: dict[str, str], mode: str) -> list[PlacedWrite]:
    """Files such as io.max take one line per write."""
    if files and mode != "v2":
        raise Unsupported(f"{_WHERE}.unified", "this host has cgroup v1, and these files belong to v2")
    return [
        (file.partition(".")[0], file, line, member(f"{_WHERE}.unified", file))
        for file, text in files.items()
        for line in text.splitlines() or [""]
    ]
