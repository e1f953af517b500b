"""linux.resources in the words of cgroup v1 and v2."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.cgroup.resources import weight_of, writes
from crate_runc.errors import BundleError, Unsupported

G = 1 << 30


def words(resources: dict[str, Any], mode: str) -> list[str]:
    return [f"{file} {value}" for _, file, value in writes(resources, mode)]


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_nothing_asked_for_is_nothing_written(mode: str) -> None:
    docker = {"memory": {"disableOOMKiller": False}, "cpu": {"shares": 0}, "blockIO": {"weight": 0}, "devices": []}
    assert writes({}, mode) == writes(docker, mode) == []


@pytest.mark.parametrize(("limit", "value"), [(7, "7"), (-1, "max"), (0, "0")])
@pytest.mark.parametrize("mode", ["v1", "hybrid", "v2"])
def test_pids(limit: int, value: str, mode: str) -> None:
    assert writes({"pids": {"limit": limit}}, mode) == [("pids", "pids.max", value)]


MEMORY = [
    ({"limit": G}, ["memory.limit_in_bytes 1073741824"], ["memory.max 1073741824"]),
    (
        {"limit": G, "swap": 2 * G},
        ["memory.limit_in_bytes 1073741824", "memory.memsw.limit_in_bytes 2147483648"],
        ["memory.swap.max 1073741824", "memory.max 1073741824"],
    ),
    ({"limit": G, "swap": G}, None, ["memory.swap.max 0", "memory.max 1073741824"]),
    (
        {"limit": -1},
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"],
        ["memory.swap.max max", "memory.max max"],
    ),
    ({"limit": G, "swap": -1}, None, ["memory.swap.max max", "memory.max 1073741824"]),
    ({"reservation": G}, ["memory.soft_limit_in_bytes 1073741824"], ["memory.low 1073741824"]),
    ({"swappiness": 0}, ["memory.swappiness 0"], None),
    ({"disableOOMKiller": True}, ["memory.oom_control 1"], None),
    ({"kernelTCP": G}, ["memory.kmem.tcp.limit_in_bytes 1073741824"], None),
    ({"kernel": G}, ["memory.kmem.limit_in_bytes 1073741824"], None),
    ({"kernel": -1, "kernelTCP": -1}, ["memory.kmem.limit_in_bytes -1", "memory.kmem.tcp.limit_in_bytes -1"], []),
    (
        {"useHierarchy": True, "limit": G},
        ["memory.use_hierarchy 1", "memory.limit_in_bytes 1073741824"],
        ["memory.max 1073741824"],
    ),
    ({"useHierarchy": False}, ["memory.use_hierarchy 0"], None),
    (
        {"limit": -1, "swap": G},
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes 1073741824"],
        ["memory.swap.max 1073741824", "memory.max max"],
    ),
    ({"checkBeforeUpdate": True}, [], []),
]


@pytest.mark.parametrize(("memory", "v1", "v2"), MEMORY)
def test_memory(memory: dict[str, Any], v1: list[str] | None, v2: list[str] | None) -> None:
    if v1 is not None:
        assert words({"memory": memory}, "v1") == v1
    if v2 is not None:
        assert words({"memory": memory}, "v2") == v2


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_memory_and_swap_cannot_be_less_than_memory(mode: str) -> None:
    with pytest.raises(BundleError, match=r"^linux.resources.memory.swap: 1 is memory and swap together"):
        writes({"memory": {"limit": 2, "swap": 1}}, mode)


def test_swap_alone_cannot_be_said_on_v2() -> None:
    with pytest.raises(BundleError, match=r"^linux.resources.memory.swap: needs memory.limit"):
        writes({"memory": {"swap": G}}, "v2")


CPU = [
    ({"shares": 1024}, ["cpu.shares 1024"], ["cpu.weight 100"]),
    ({"quota": 50000}, ["cpu.cfs_quota_us 50000"], ["cpu.max 50000 100000"]),
    ({"period": 5000}, ["cpu.cfs_period_us 5000"], ["cpu.max max 5000"]),
    ({"quota": -1, "period": 5000}, ["cpu.cfs_period_us 5000", "cpu.cfs_quota_us -1"], ["cpu.max max 5000"]),
    ({"quota": 100, "burst": 50}, ["cpu.cfs_quota_us 100", "cpu.cfs_burst_us 50"], ["cpu.max 100 100000", "cpu.max.burst 50"]),
    ({"idle": 1}, ["cpu.idle 1"], ["cpu.idle 1"]),
    ({"idle": 0, "burst": 0}, ["cpu.cfs_burst_us 0", "cpu.idle 0"], ["cpu.max.burst 0", "cpu.idle 0"]),
    ({"cpus": "0-1", "mems": "0"}, ["cpuset.cpus 0-1", "cpuset.mems 0"], ["cpuset.cpus 0-1", "cpuset.mems 0"]),
    ({"realtimePeriod": 9, "realtimeRuntime": 5}, ["cpu.rt_period_us 9", "cpu.rt_runtime_us 5"], None),
]  # fmt: skip


@pytest.mark.parametrize(("cpu", "v1", "v2"), CPU)
def test_cpu(cpu: dict[str, Any], v1: list[str], v2: list[str] | None) -> None:
    assert words({"cpu": cpu}, "hybrid") == v1
    if v2 is not None:
        assert words({"cpu": cpu}, "v2") == v2


@pytest.mark.parametrize("shares", [1, 262145])
def test_shares_beyond_what_v1_keeps_are_refused(shares: int) -> None:
    with pytest.raises(BundleError, match=r"cpu.shares: must be from 2 to 262144"):
        writes({"cpu": {"shares": shares}}, "v1")


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (1, 1),
        (2, 1),
        (3, 2),
        (100, 17),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (4096, 303),
        (262143, 10000),
        (262144, 10000),
        (10**9, 10000),
    ],
)
def test_shares_become_weights_on_the_agreed_curve(shares: int, weight: int) -> None:
    assert weight_of(shares) == weight


def test_weights_grow_with_shares() -> None:
    weights = [weight_of(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert weights[0] >= 1 and weights[-1] <= 10000


@pytest.mark.parametrize(
    "resources",
    [
        {"memory": {"kernel": 1}},
        {"memory": {"kernelTCP": 1}},
        {"memory": {"swappiness": 10}},
        {"memory": {"swappiness": 0}},
        {"memory": {"useHierarchy": False}},
        {"memory": {"disableOOMKiller": True}},
        {"cpu": {"realtimeRuntime": 1}},
        {"cpu": {"realtimePeriod": 1}},
    ],
)
def test_what_v2_has_no_word_for_is_unsupported(resources: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match=r"^linux.resources\.\w+\.\w+: (on )?cgroup v2"):
        writes(resources, "v2")


def test_unified_is_for_v2_alone_and_written_last() -> None:
    resources = {"unified": {"memory.high": "5", "hugetlb.2MB.max": "0"}, "pids": {"limit": 1}}
    assert writes(resources, "v2") == [
        ("pids", "pids.max", "1"),
        ("memory", "memory.high", "5"),
        ("hugetlb", "hugetlb.2MB.max", "0"),
    ]
    with pytest.raises(Unsupported, match=r"^linux.resources.unified: this host has cgroup v1"):
        writes(resources, "hybrid")
