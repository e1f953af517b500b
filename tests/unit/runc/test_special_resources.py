"""What few containers ask for: huge pages, network, RDMA and files of v2, as writes of v1 and v2."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from crate_runc.cgroup.resources import writes
from crate_runc.errors import Unsupported


def test_huge_pages_are_limited_in_use_and_when_reserved() -> None:
    resources = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}, {"pageSize": "1GB", "limit": 0}]}
    assert writes(resources, "v1") == [
        ("hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb", "hugetlb.2MB.rsvd.limit_in_bytes", "4194304"),
        ("hugetlb", "hugetlb.1GB.limit_in_bytes", "0"),
        ("hugetlb", "hugetlb.1GB.rsvd.limit_in_bytes", "0"),
    ]
    assert [file for _, file, _ in writes(resources, "v2")] == [
        "hugetlb.2MB.max",
        "hugetlb.2MB.rsvd.max",
        "hugetlb.1GB.max",
        "hugetlb.1GB.rsvd.max",
    ]


def test_network_is_of_v1_alone() -> None:
    resources = {
        "network": {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}, {"name": "eth1", "priority": 0}]}
    }
    assert writes(resources, "v1") == [
        ("net_cls", "net_cls.classid", "1048577"),
        ("net_prio", "net_prio.ifpriomap", "eth0 500"),
        ("net_prio", "net_prio.ifpriomap", "eth1 0"),
    ]
    with pytest.raises(Unsupported, match=r"^linux.resources.network.classID: cgroup v2 has nothing like it"):
        writes(resources, "v2")
    with pytest.raises(Unsupported, match=r"^linux.resources.network.priorities\[0\]: cgroup v2"):
        writes({"network": {"priorities": [{"name": "eth0", "priority": 0}]}}, "v2")
    assert writes({"network": {"classID": 0, "priorities": []}}, "v2") == []


@pytest.mark.parametrize("mode", ["v1", "hybrid", "v2"])
def test_rdma_is_the_same_on_both(mode: str) -> None:
    resources = {"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "rxe3": {"hcaObjects": 0}}}
    assert writes(resources, mode) == [
        ("rdma", "rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma", "rdma.max", "rxe3 hca_object=0"),
    ]


def test_a_file_of_v2_is_written_line_by_line() -> None:
    resources = {"unified": {"io.max": "259:0 rbps=1 wiops=2\n253:0 rbps=1\n", "cpuset.cpus": "", "cgroup.max.depth": "3"}}
    assert writes(resources, "v2") == [
        ("io", "io.max", "259:0 rbps=1 wiops=2"),
        ("io", "io.max", "253:0 rbps=1"),
        ("cpuset", "cpuset.cpus", ""),
        ("cgroup", "cgroup.max.depth", "3"),
    ]


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_what_everyone_asks_for_does_not_load_the_rest(mode: str) -> None:
    """A start is mostly the loading of code."""
    resources: dict[str, Any] = {"memory": {"limit": 5}, "pids": {"limit": 5}, "cpu": {"shares": 5}, "blockIO": {}, "devices": []}
    script = (
        "import sys; from crate_runc.rules import resources as rules; from crate_runc.cgroup import resources;"
        f"r = {resources!r}; rules.resources(r, '', print); resources.writes(r, {mode!r});"
        "print([n for n in sys.modules if n.rpartition('.')[2] in "
        "('special_resources', 'block_io', 'refusals', 'setting_back')])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
