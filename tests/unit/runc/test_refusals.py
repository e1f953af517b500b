"""What follows when a file of a cgroup cannot be written, on directories that stand in for cgroupfs."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from crate_runc.cgroup import files, refusals
from crate_runc.cgroup.resources import writes
from crate_runc.errors import CgroupError

G = 1 << 30
EVERYTHING: dict[str, Any] = {
    "pids": {"limit": 5},
    "memory": {"limit": G, "swap": 2 * G, "reservation": G, "useHierarchy": True},
    "cpu": {"shares": 100, "quota": 1000, "period": 2000, "burst": 3, "idle": 0, "cpus": "0", "mems": "0"},
    "blockIO": {"weight": 10, "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "rdma": {"mlx5-1": {"hcaHandles": 1}},
}
V1 = {**EVERYTHING, "network": {"classID": 1, "priorities": [{"name": "lo", "priority": 1}]}}
V1["memory"] = {**EVERYTHING["memory"], "kernel": 5, "kernelTCP": 6, "swappiness": 7, "disableOOMKiller": True}
V1["cpu"] = {**EVERYTHING["cpu"], "realtimePeriod": 5, "realtimeRuntime": 4}
V2 = {**EVERYTHING, "unified": {"memory.high": "5"}}


@pytest.mark.parametrize(("resources", "mode"), [(V1, "v1"), (V2, "v2")])
def test_every_write_is_of_a_property_that_is_there(resources: dict[str, Any], mode: str) -> None:
    for _, file, value in writes(resources, mode):
        where = refusals.property_of(resources, mode, file, value)
        section, _, name = where.removeprefix("linux.resources.").partition(".")
        assert section.partition("[")[0] in resources, (file, where)
        if section in ("pids", "memory", "cpu"):
            assert name in resources[section], (file, where)


@pytest.mark.parametrize(
    ("file", "value", "where"),
    [
        ("blkio.throttle.write_iops_device", "8:0 5", "linux.resources.blockIO.throttleWriteIOPSDevice[0]"),
        ("hugetlb.2MB.rsvd.limit_in_bytes", "1", "linux.resources.hugepageLimits[0]"),
        ("net_prio.ifpriomap", "lo 1", "linux.resources.network.priorities[0]"),
        ("rdma.max", "mlx5-1 hca_handle=1", 'linux.resources.rdma["mlx5-1"]'),
        ("memory.kmem.tcp.limit_in_bytes", "6", "linux.resources.memory.kernelTCP"),
    ],
)
def test_entries_of_lists_are_named_by_their_place(file: str, value: str, where: str) -> None:
    assert refusals.property_of(V1, "v1", file, value) == where


def test_a_period_alone_is_not_called_a_quota() -> None:
    assert refusals.property_of({"cpu": {"period": 5}}, "v2", "cpu.max", "max 5") == "linux.resources.cpu.period"


@pytest.mark.parametrize(
    ("resources", "mode"),
    [
        ({"memory": {"limit": -1}}, "v1"),
        ({"memory": {"kernel": -1, "kernelTCP": -1, "useHierarchy": True}}, "v1"),
        ({"memory": {"limit": G, "swap": G}}, "v2"),
        ({"cpu": {"idle": 0, "burst": 0}}, "v1"),
        ({"cpu": {"idle": 0, "burst": 0}}, "v2"),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}, "v1"),
    ],
)
def test_what_only_newer_kernels_count_need_not_be_lifted(resources: dict[str, Any], mode: str, tmp_path: Path) -> None:
    """The look-alike of the next: the same files, with values that limit nothing."""
    for file in ("memory.limit_in_bytes", "memory.max", "hugetlb.2MB.limit_in_bytes"):
        (tmp_path / file).write_text("")
    wanted = writes(resources, mode)
    files.set_limits(wanted, dict.fromkeys([one[0] for one in wanted], str(tmp_path)), resources, mode)


@pytest.mark.parametrize(
    ("resources", "mode", "where"),
    [
        ({"memory": {"swap": G, "limit": 5}}, "v1", "memory.swap"),
        ({"memory": {"swap": G, "limit": 5}}, "v2", "memory.swap"),
        ({"memory": {"kernelTCP": 5}}, "v1", "memory.kernelTCP"),
        ({"memory": {"useHierarchy": False}}, "v1", "memory.useHierarchy"),
        ({"cpu": {"idle": 1}}, "v1", "cpu.idle"),
        ({"cpu": {"burst": 1}}, "v2", "cpu.burst"),
        ({"hugepageLimits": [{"pageSize": "64KB", "limit": 1}]}, "v2", r"hugepageLimits\[0\]"),
        ({"blockIO": {"weight": 10}}, "v1", "blockIO.weight"),
        ({"blockIO": {"weight": 10}}, "v2", "blockIO.weight"),
        ({"blockIO": {"leafWeight": 10}}, "v1", "blockIO.leafWeight"),
        ({"unified": {"foo.bar": "1"}}, "v2", r'unified\["foo.bar"\]'),
    ],
)
def test_a_limit_without_a_file_is_an_error_that_names_it(
    resources: dict[str, Any], mode: str, where: str, tmp_path: Path
) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory cpu io hugetlb foo")
    for file in ("memory.limit_in_bytes", "memory.max"):
        (tmp_path / file).write_text("")
    wanted = writes(resources, mode)
    with pytest.raises(CgroupError, match=rf"^linux.resources.{where}: set \S+ in cgroup .*: this kernel has no such file"):
        files.set_limits(wanted, dict.fromkeys([one[0] for one in wanted], str(tmp_path)), resources, mode)


def test_a_file_of_an_unknown_controller_names_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("memory")
    resources = {"unified": {"foo.bar": "1"}}
    with pytest.raises(CgroupError, match=r'unified\["foo.bar"\]: .*the controller foo is not handed down to it'):
        files.set_limits(writes(resources, "v2"), {"foo": str(tmp_path)}, resources, "v2")


def test_a_weight_falls_to_the_scheduler_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "io.weight").write_text("")
    resources = {"blockIO": {"weight": 1000}}
    files.set_limits(writes(resources, "v2"), {"io": str(tmp_path)}, resources, "v2")
    assert (tmp_path / "io.weight").read_text() == "10000"


class Kernel:
    """A cgroup whose limit of memory and swap together must not be below that of memory, as v1's."""

    def __init__(self, limit: int, both: int) -> None:
        self.values = {"memory.limit_in_bytes": limit, "memory.memsw.limit_in_bytes": both}

    def write(self, directory: str, file: str, value: str) -> None:
        after = {**self.values, file: int(value)}
        if after["memory.limit_in_bytes"] > after["memory.memsw.limit_in_bytes"]:
            raise OSError(errno.EINVAL, "Invalid argument")
        self.values = after


@pytest.mark.parametrize(("limit", "swap"), [(64, 96), (256, 512), (8, 9), (96, 96), (97, 100)])
def test_memory_and_swap_are_set_in_the_order_that_the_kernel_takes(
    limit: int, swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel(80, 96)
    monkeypatch.setattr(files, "write", kernel.write)
    resources = {"memory": {"limit": limit, "swap": swap}}
    files.set_limits(writes(resources, "v1"), {"memory": "/x"}, resources, "v1")
    assert list(kernel.values.values()) == [limit, swap]


def test_what_is_invalid_in_every_order_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(80, 96)
    monkeypatch.setattr(files, "write", kernel.write)
    resources = {"memory": {"limit": 100}}
    with pytest.raises(
        CgroupError, match=r"^linux.resources.memory.limit: set memory.limit_in_bytes to 100 in .*: invalid argument"
    ):
        files.set_limits(writes(resources, "v1"), {"memory": "/x"}, resources, "v1")


@pytest.mark.parametrize(
    ("number", "why"),
    [(errno.ENODEV, "there is no such device"), (errno.EOPNOTSUPP, "does not limit it"), (errno.EACCES, "permission denied")],
)
def test_the_cause_is_told(number: int, why: str, tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=why):
        refusals.settle(
            str(tmp_path), ("pids", "pids.max", "5"), OSError(number, "Permission denied"), {"pids": {"limit": 5}}, "v1"
        )


def test_memory_that_is_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "memory.usage_in_bytes").write_text("4096\n")
    resources, busy = {"memory": {"limit": 5}}, OSError(errno.EBUSY, "Device or resource busy")
    with pytest.raises(CgroupError, match="4096 bytes are in use and cannot be given back"):
        refusals.settle(str(tmp_path), ("memory", "memory.limit_in_bytes", "5"), busy, resources, "v1")
