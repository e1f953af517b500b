"""update: limits of a running container change, as runc(8) says, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_cgroup import V2, cgroup_of, limited, no_parent_left  # noqa: F401
from tests.conformance.test_resources import disk
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

M = 1 << 20


def value(runtime: OciRuntime, identity: str, controller: str, v1: str, v2: str) -> str:
    return (cgroup_of(runtime.pid(identity), controller) / (v2 if V2 else v1)).read_text().strip()


def memory(runtime: OciRuntime, identity: str) -> tuple[int, int]:
    """The limit of memory, and of memory and swap together."""
    limit = int(value(runtime, identity, "memory", "memory.limit_in_bytes", "memory.max"))
    both = int(value(runtime, identity, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"))
    return limit, limit + both if V2 else both


# flags, controller, (file, content) of v1, (file, content) of v2
FLAGS: list[tuple[list[str], str, tuple[str, str] | None, tuple[str, str] | None]] = [
    (["--pids-limit", "33"], "pids", ("pids.max", "33"), ("pids.max", "33")),
    (["--pids-limit", "-1"], "pids", ("pids.max", "max"), ("pids.max", "max")),
    (["--memory", "64m"], "memory", ("memory.limit_in_bytes", str(64 * M)), ("memory.max", str(64 * M))),
    (["--memory", "1.5g"], "memory", ("memory.limit_in_bytes", str(1536 * M)), ("memory.max", str(1536 * M))),
    (["--memory-reservation", "32M"], "memory", ("memory.soft_limit_in_bytes", str(32 * M)), ("memory.low", str(32 * M))),
    (["--cpu-share", "512"], "cpu", ("cpu.shares", "512"), None),
    (["--cpu-quota", "50000"], "cpu", ("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")),
    (["--cpu-period", "50000"], "cpu", ("cpu.cfs_period_us", "50000"), None),
    (["--cpu-quota", "5000", "--cpu-period", "5000"], "cpu", ("cpu.cfs_period_us", "5000"), ("cpu.max", "5000 5000")),
    (["--cpuset-cpus", "0"], "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    (["--cpuset-mems", "0"], "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
]


@pytest.mark.parametrize(("flags", "controller", "v1", "v2"), FLAGS, ids=[" ".join(flags) for flags, *_ in FLAGS])
def test_flag_changes_its_limit(
    runtime: OciRuntime,
    bundle: Bundle,
    flags: list[str],
    controller: str,
    v1: tuple[str, str] | None,
    v2: tuple[str, str] | None,
) -> None:
    expected = v2 if V2 else v1
    if expected is None:
        pytest.skip(f"needs cgroup {'v1' if V2 else 'v2'}")
    with runtime.running(limited(bundle)) as identity:
        result = runtime.call("update", *flags, identity)
        assert (result.out, result.err) == ("", "")
        assert value(runtime, identity, controller, *([expected[0]] * 2)) == expected[1]


def test_flags_that_came_later(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name != "crate-runc":
        pytest.skip("needs a runtime that knows the runtime-spec 1.1 and later")
    with runtime.running(limited(bundle)) as identity:
        runtime.call("update", "--cpu-quota", "50000", "--cpu-burst", "20000", identity)
        assert value(runtime, identity, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "20000"
        runtime.call("update", "--cpu-burst", "0", identity)
        assert value(runtime, identity, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "0"
        runtime.call("update", "--cpu-idle", "1", identity)
        assert value(runtime, identity, "cpu", "cpu.idle", "cpu.idle") == "1"
        runtime.call("update", "--cpu-idle", "0", "--cpu-share", "512", identity)
        assert value(runtime, identity, "cpu", "cpu.idle", "cpu.idle") == "0"
        assert value(runtime, identity, "cpu", "cpu.shares", "cpu.weight") == ("59" if V2 else "512")


@pytest.mark.parametrize("path", ["-", "FILE"])
def test_resources_are_read_from_a_file_or_standard_input(runtime: OciRuntime, bundle: Bundle, path: str) -> None:
    major, minor = map(int, disk().split(":"))
    rate = {"major": major, "minor": minor, "rate": 1048576}
    resources = {
        "memory": {"limit": 64 * M, "swap": 96 * M},
        "cpu": {"shares": 0, "quota": 30000, "period": 60000, "cpus": ""},
        "pids": {"limit": 21},
        "blockIO": {"throttleReadBpsDevice": [rate]},
    }
    file = runtime.directory / "resources.json"
    file.write_text(json.dumps(resources))
    with runtime.running(limited(bundle)) as identity:
        if path == "-":
            runtime.call("update", "--resources", "-", identity, input=file.read_text())
        else:
            runtime.call("update", "-r", str(file), identity)
        assert memory(runtime, identity) == (64 * M, 96 * M)
        assert value(runtime, identity, "pids", "pids.max", "pids.max") == "21"
        assert value(runtime, identity, "cpu", "cpu.cfs_quota_us", "cpu.max").split()[0] == "30000"
        if runtime.name != "runc":  # 1.1 reads only the weight of blockIO
            found = value(runtime, identity, "blkio", "blkio.throttle.read_bps_device", "io.max")
            assert "1048576" in found.replace("=", " ").split()


@pytest.mark.parametrize(
    "steps", [[(64, 96), (256, 512), (32, 64)], [(128, 128), (64, 64), (65, 200)], [(300, 400), (350, 390), (40, 399)]]
)
def test_memory_and_swap_change_together_up_and_down(runtime: OciRuntime, bundle: Bundle, steps: list[tuple[int, int]]) -> None:
    limited(bundle, memory={"limit": 100 * M, "swap": 150 * M})
    with runtime.running(bundle) as identity:
        for limit, both in steps:
            runtime.call("update", "--memory", f"{limit}m", "--memory-swap", f"{both}m", identity)
            assert memory(runtime, identity) == (limit * M, both * M)


def test_a_limit_of_memory_alone_leaves_that_of_both(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc" and V2:
        pytest.skip("runc 1.1.5 keeps what swap alone may be, on cgroup v2")
    limited(bundle, memory={"limit": 64 * M, "swap": 96 * M})
    with runtime.running(bundle) as identity:
        runtime.call("update", "--memory", "80m", identity)
        assert memory(runtime, identity) == (80 * M, 96 * M)
        runtime.fails("update", "--memory", "200m", identity)
        assert memory(runtime, identity) == (80 * M, 96 * M)


def test_unlimited_memory_is_unlimited_swap(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, memory={"limit": 64 * M, "swap": 96 * M})
    with runtime.running(bundle) as identity:
        runtime.call("update", "--memory", "-1", identity)
        unlimited = {"max", "9223372036854771712"}
        assert value(runtime, identity, "memory", "memory.limit_in_bytes", "memory.max") in unlimited
        assert value(runtime, identity, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max") in unlimited


def test_a_quota_keeps_its_period_and_the_other_way_round(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, cpu={"quota": 40000, "period": 80000})
    with runtime.running(bundle) as identity:
        runtime.call("update", "--cpu-quota", "20000", identity)
        runtime.call("update", "--cpu-period", "50000", identity)
        group = cgroup_of(runtime.pid(identity), "cpu")
        files = ["cpu.max"] if V2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        assert " ".join((group / file).read_text().strip() for file in files) == "20000 50000"


def test_what_is_not_named_stays(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, memory={"limit": 64 * M}, pids={"limit": 9}, cpu={"shares": 512})
    with runtime.running(bundle) as identity:
        before = value(runtime, identity, "cpu", "cpu.shares", "cpu.weight")
        runtime.call("update", "--cpu-quota", "50000", identity)
        assert value(runtime, identity, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * M)
        assert value(runtime, identity, "pids", "pids.max", "pids.max") == "9"
        assert value(runtime, identity, "cpu", "cpu.shares", "cpu.weight") == before


def test_what_cannot_be_set_changes_nothing(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc" and V2:
        pytest.skip("runc 1.1.5 sets nothing back on cgroup v2")
    limited(bundle, pids={"limit": 9}, cpu={"shares": 512, "cpus": "0"})
    with runtime.running(bundle) as identity:
        before = value(runtime, identity, "cpu", "cpu.shares", "cpu.weight")
        runtime.fails("update", "--pids-limit", "7", "--cpu-share", "100", "--cpuset-cpus", "9999", identity)
        assert value(runtime, identity, "pids", "pids.max", "pids.max") == "9"
        assert value(runtime, identity, "cpu", "cpu.shares", "cpu.weight") == before


WRONG = [
    (["--memory", "12q"], "memory"),
    (["--cpu-share", "x"], "cpu-share"),
    (["--cpu-period", "-5"], "period"),
    (["--resources", "/nonexistent/file"], "no such file or directory"),
    (["--nosuch", "5"], "flag provided but not defined: -nosuch"),
]


@pytest.mark.parametrize(("flags", "what"), WRONG, ids=[" ".join(flags) for flags, _ in WRONG])
def test_what_is_wrong_is_named(runtime: OciRuntime, bundle: Bundle, flags: list[str], what: str) -> None:
    with runtime.running(limited(bundle)) as identity:
        assert what in runtime.fails("update", *flags, identity).err


@pytest.mark.parametrize("text", ["", "{", '{"memory": {"limit": "64m"}}', '{"cpu": {"shares": -5}}'])
def test_a_file_that_is_wrong_is_an_error(runtime: OciRuntime, bundle: Bundle, text: str) -> None:
    with runtime.running(limited(bundle)) as identity:
        runtime.fails("update", "--resources", "-", identity, input=text)


def test_a_stopped_container_has_no_limits_to_change(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert "container not running" in runtime.fails("update", "--pids-limit", "5", identity).err
    assert "container does not exist" in runtime.fails("update", "--pids-limit", "5", "nosuch").err


def test_a_paused_and_a_created_container_can_be_changed(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.create(limited(bundle))
    runtime.call("update", "--pids-limit", "11", identity)
    assert value(runtime, identity, "pids", "pids.max", "pids.max") == "11"
    runtime.call("start", identity)
    runtime.call("pause", identity)
    runtime.call("update", "--pids-limit", "12", identity)
    assert value(runtime, identity, "pids", "pids.max", "pids.max") == "12"
    assert runtime.status(identity) == "paused"
    runtime.call("delete", "--force", identity)


def device_rules(*rules: dict[str, Any]) -> str:
    return json.dumps({"devices": [{"allow": False, "access": "rwm"}, *rules]})


def test_device_rules_change_in_a_running_container(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name != "crate-runc":
        pytest.skip("needs a runtime that changes device rules: runc passes over them")
    if not Path("/dev/fuse").exists():
        pytest.skip("needs /dev/fuse")
    for kind in bundle.process["capabilities"].values():
        kind.append("CAP_MKNOD")
    limited(bundle).script("mknod /dev/fuse c 10 229; exec sleep 1000")
    fuse = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"}
    with runtime.running(bundle) as identity:

        def opens() -> bool:
            return runtime.exec(identity, "sh", "-c", "exec 3</dev/fuse", status=None).status == 0

        eventually(lambda: runtime.exec(identity, "test", "-c", "/dev/fuse", status=None).status == 0, "its device is there")
        assert not opens()
        for rules, allowed in (
            (device_rules(fuse), True),
            (device_rules({**fuse, "access": "w"}), False),
            (device_rules(fuse), True),
            (device_rules(), False),
        ):
            runtime.call("update", "--resources", "-", identity, input=rules)
            assert opens() is allowed
            runtime.exec(identity, "sh", "-c", "exec 3</dev/zero")
