"""Every property of linux.resources that this host can hold, read back from the kernel, and what none can: config-linux.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_cgroup import V2, cgroup_of, limited, no_parent_left  # noqa: F401
from tests.support.runtime import Bundle, OciRuntime

M = 1 << 20


def disk() -> str:
    """A block device that the kernel lets be limited."""
    for device in sorted(Path("/sys/block").iterdir()):
        if not device.name.startswith(("loop", "zram", "ram", "dm-", "sr", "fd")):
            return (device / "dev").read_text().strip()
    pytest.skip("needs a disk")


def throttled(name: str, rate: int) -> dict[str, Any]:
    major, minor = map(int, disk().split(":"))
    return {"blockIO": {name: [{"major": major, "minor": minor, "rate": rate}]}}


def text(runtime: OciRuntime, identity: str, controller: str, file: str) -> str:
    path = cgroup_of(runtime.pid(identity), controller) / file
    if not path.exists():
        pytest.skip(f"needs a kernel that has {file}")
    return path.read_text().strip()


# resources, controller, (file, content) of v1, (file, content) of v2
CASES: list[tuple[dict[str, Any], str, tuple[str, str] | None, tuple[str, str] | None]] = [
    (
        {"memory": {"limit": 64 * M, "swap": 96 * M}},
        "memory",
        ("memory.memsw.limit_in_bytes", str(96 * M)),
        ("memory.swap.max", str(32 * M)),
    ),
    ({"memory": {"limit": 64 * M, "swap": 64 * M}}, "memory", None, ("memory.swap.max", "0")),
    ({"memory": {"limit": 64 * M, "swap": -1}}, "memory", None, ("memory.swap.max", "max")),
    ({"memory": {"swappiness": 7}}, "memory", ("memory.swappiness", "7"), None),
    ({"memory": {"disableOOMKiller": True}}, "memory", ("memory.oom_control", "oom_kill_disable 1"), None),
    ({"cpu": {"period": 50000}}, "cpu", ("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")),
    ({"cpu": {"quota": 40000}}, "cpu", ("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 100000")),
    ({"cpu": {"quota": -1}}, "cpu", ("cpu.cfs_quota_us", "-1"), ("cpu.max", "max 100000")),
    ({"cpu": {"mems": "0"}}, "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    ({"pids": {"limit": -1}}, "pids", ("pids.max", "max"), ("pids.max", "max")),
]
# what runc 1.1 did not know yet
NEWER: list[tuple[dict[str, Any], str, tuple[str, str] | None, tuple[str, str] | None]] = [
    ({"cpu": {"quota": 50000, "burst": 20000}}, "cpu", ("cpu.cfs_burst_us", "20000"), ("cpu.max.burst", "20000")),
    ({"cpu": {"idle": 1}}, "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
    ({"cpu": {"shares": 1024}}, "cpu", None, ("cpu.weight", "100")),
    ({"cpu": {"shares": 262144}}, "cpu", ("cpu.shares", "262144"), ("cpu.weight", "10000")),
    ({"memory": {"kernelTCP": 8 * M}}, "memory", ("memory.kmem.tcp.limit_in_bytes", str(8 * M)), None),
    ({"memory": {"useHierarchy": True}}, "memory", ("memory.use_hierarchy", "1"), ("memory.max", "max")),
]


@pytest.mark.parametrize(("resources", "controller", "v1", "v2"), CASES)
def test_limit_is_in_force(
    runtime: OciRuntime,
    bundle: Bundle,
    resources: dict[str, Any],
    controller: str,
    v1: tuple[str, str] | None,
    v2: tuple[str, str] | None,
) -> None:
    expected = v2 if V2 else v1
    if expected is None:
        pytest.skip(f"needs cgroup {'v1' if V2 else 'v2'}")
    with runtime.running(limited(bundle, **resources)) as identity:
        assert text(runtime, identity, controller, expected[0]).startswith(expected[1])


@pytest.mark.parametrize(("resources", "controller", "v1", "v2"), NEWER)
def test_limit_that_came_later_is_in_force(
    runtime: OciRuntime,
    bundle: Bundle,
    resources: dict[str, Any],
    controller: str,
    v1: tuple[str, str] | None,
    v2: tuple[str, str] | None,
) -> None:
    if runtime.name != "crate-runc":
        pytest.skip("needs a runtime that knows the runtime-spec 1.1 and later")
    test_limit_is_in_force(runtime, bundle, resources, controller, v1, v2)


RATES = [
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
]


@pytest.mark.parametrize(("name", "file", "key"), RATES)
def test_rate_of_a_disk_is_in_force(runtime: OciRuntime, bundle: Bundle, name: str, file: str, key: str) -> None:
    with runtime.running(limited(bundle, **throttled(name, 1048576))) as identity:
        found = text(runtime, identity, "blkio", "io.max" if V2 else file)
        assert (f"{key}=1048576" in found.split()) if V2 else found == f"{disk()} 1048576"


def test_rate_of_a_device_that_is_not_there_fails(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, blockIO={"throttleReadBpsDevice": [{"major": 4000, "minor": 3, "rate": 5}]})
    result = runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert "no such device" in result.err
    assert list(runtime.root.iterdir()) == []


def test_realtime_of_processes_is_limited(runtime: OciRuntime, bundle: Bundle) -> None:
    if V2 or not Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists():
        pytest.skip("needs a kernel that limits realtime processes")
    bundle.linux["resources"]["cpu"] = {
        "realtimePeriod": 500000,
        "realtimeRuntime": 1000,
    }  # of which a new parent would have none
    with runtime.running(bundle.runs("/bin/sleep", "1000")) as identity:
        assert text(runtime, identity, "cpu", "cpu.rt_runtime_us") == "1000"
        assert text(runtime, identity, "cpu", "cpu.rt_period_us") == "500000"


def test_processors_of_a_child_are_of_its_parents(runtime: OciRuntime, bundle: Bundle) -> None:
    """On v1 every cpuset above that is new must be filled before one below can have anything."""
    bundle.linux["resources"]["cpu"] = {"cpus": "0"}
    bundle.linux["cgroupsPath"] = "/crate-tests/deep/er"
    try:
        with runtime.running(bundle.runs("/bin/sleep", "1000")) as identity:
            group = cgroup_of(runtime.pid(identity), "cpuset")
            assert (group / "cpuset.cpus").read_text() == "0\n"
            effective = "cpuset.cpus.effective" if V2 else "cpuset.cpus"
            assert (group.parent / effective).read_text() == (group.parent.parent.parent / effective).read_text()
    finally:
        for path in Path("/sys/fs/cgroup").glob("crate-tests/deep" if V2 else "*/crate-tests/deep"):
            path.rmdir()


UNKNOWN = [
    ({"blockIO": {"leafWeight": 100}}, "linux.resources.blockIO.leafWeight"),
    ({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}, "linux.resources.hugepageLimits[0]"),
    ({"rdma": {"nosuch": {"hcaHandles": 1}}}, "linux.resources.rdma.nosuch"),
    ({"unified": {"nosuch.file": "1"}}, "linux.resources.unified"),
    ({"cpu": {"quota": 1}}, "linux.resources.cpu.quota"),
    ({"cpu": {"cpus": "9999"}}, "linux.resources.cpu.cpus"),
    ({"cpu": {"period": 1}}, "linux.resources.cpu.period"),
]


@pytest.mark.parametrize(("resources", "where"), UNKNOWN, ids=[where for _, where in UNKNOWN])
def test_what_this_host_cannot_do_is_an_error(runtime: OciRuntime, bundle: Bundle, resources: dict[str, Any], where: str) -> None:
    limited(bundle, **resources)
    result = runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert list(runtime.root.iterdir()) == []
    if runtime.name == "crate-runc":
        assert where in result.err


@pytest.mark.parametrize(
    "resources",
    [{"network": {"classID": 5}}, {"memory": {"swappiness": 0}}, {"memory": {"kernelTCP": 5}}, {"cpu": {"realtimeRuntime": 5}}],
)
def test_what_v2_has_no_word_for_is_an_error(runtime: OciRuntime, bundle: Bundle, resources: dict[str, Any]) -> None:
    if runtime.name != "crate-runc" or not V2:
        pytest.skip("needs cgroup v2, and a runtime that passes over nothing")
    limited(bundle, **resources)
    ((section, properties),) = resources.items()
    result = runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert f"linux.resources.{section}.{next(iter(properties))}: cgroup v2 has nothing like it" in result.err


DEVICES = [
    ([], "read /dev/zero"),
    ([{"allow": False, "access": "rwm"}], "read /dev/zero"),
    ([{"allow": True, "access": "rwm"}], "read /dev/zero, /dev/fuse"),
    ([{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}], "read /dev/zero, /dev/fuse"),
    ([{"allow": True, "type": "c", "major": 10, "access": "rw"}], "read /dev/zero, /dev/fuse"),
    ([{"allow": True, "type": "c", "access": "rw"}], "read /dev/zero, /dev/fuse"),
    ([{"allow": True, "type": "b", "access": "rw"}], "read /dev/zero"),
    ([{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "w"}], "read /dev/zero"),
]


@pytest.mark.parametrize(("rules", "readable"), DEVICES)
def test_devices_are_used_as_the_rules_say(
    runtime: OciRuntime, bundle: Bundle, rules: list[dict[str, Any]], readable: str
) -> None:
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    for kind in bundle.process["capabilities"].values():
        kind.append("CAP_MKNOD")
    limited(bundle, devices=[{"allow": False, "access": "rwm"}, *rules])
    bundle.script(
        "mknod /dev/fuse c 10 229; found=; for file in /dev/zero /dev/fuse;"
        " do ( exec 3<$file ) 2>/dev/null && found=$found,\\ $file; done; echo read ${found#, }"
    )
    assert runtime.output(bundle).strip() == readable
