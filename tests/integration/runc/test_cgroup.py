"""Control groups of the kernel: made, limited, joined, killed and removed, whatever mode this host has. As root, in a cgroup of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crate_runc import cgroup, host
from crate_runc.cgroup import device_rules
from crate_runc.errors import CgroupError
from crate_runc.kernel import bpf

FACTS = host.probe()
NAME = f"/crate-test-{os.getpid()}"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0
    or FACTS.cgroup_mode == "none"
    or not all(os.access(mount, os.W_OK) for mount, _ in FACTS.cgroup_mounts.values()),
    reason="needs root and writable control groups",
)


@pytest.fixture
def group() -> Iterator[cgroup.Cgroup]:
    made = cgroup.open_for({"linux": {"cgroupsPath": NAME + "/inner"}}, FACTS, "c1")
    yield made
    again = cgroup.from_paths(made.paths, FACTS)
    again.kill()
    again.delete()
    for mount, _ in FACTS.cgroup_mounts.values():
        if os.path.isdir(mount + NAME):
            os.rmdir(mount + NAME)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def cgroups_of(pid: int) -> set[str]:
    return {line.split(":", 2)[2] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


def read(group: cgroup.Cgroup, v1: tuple[str, str], v2: str) -> str:
    controller, file = v1 if FACTS.cgroup_mode != "v2" else ("", v2)
    return Path(group.paths[controller], file).read_text().strip()


def ready(group: cgroup.Cgroup, resources: dict[str, Any]) -> None:
    group.create()
    group.apply(resources)


def test_a_process_is_moved_in_every_hierarchy(group: cgroup.Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    ready(group, {})
    group.join(sleeper.pid)
    assert cgroups_of(sleeper.pid) == {NAME + "/inner"}
    assert group.processes() == [sleeper.pid]


def test_limits_are_what_the_kernel_says(group: cgroup.Cgroup) -> None:
    ready(
        group,
        {
            "pids": {"limit": 17},
            "memory": {"limit": 64 << 20},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"},
        },
    )
    assert read(group, ("pids", "pids.max"), "pids.max") == "17"
    assert read(group, ("memory", "memory.limit_in_bytes"), "memory.max") == str(64 << 20)
    assert read(group, ("cpu", "cpu.shares"), "cpu.weight") == ("512" if FACTS.cgroup_mode != "v2" else "59")
    assert read(group, ("cpu", "cpu.cfs_quota_us"), "cpu.max").split()[0] == "50000"
    assert read(group, ("cpuset", "cpuset.cpus"), "cpuset.cpus") == "0"


def test_the_limit_of_tasks_holds(group: cgroup.Cgroup) -> None:
    ready(group, {"pids": {"limit": 3}})
    script = "read x; for i in 1 2 3 4 5; do sleep 60 & done"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        group.join(process.pid)
        process.communicate(b"\n", timeout=30)
        assert len(group.processes()) <= 3


def test_kill_reaches_what_the_first_process_left_behind(group: cgroup.Cgroup) -> None:
    ready(group, {})
    with subprocess.Popen(["sh", "-c", "read x; setsid sh -c 'sleep 60 & sleep 60' & exit"], stdin=subprocess.PIPE) as process:
        group.join(process.pid)
        process.communicate(b"\n", timeout=30)
    deadline = time.monotonic() + 5
    while len(group.processes()) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(group.processes()) >= 2
    group.kill()
    group.delete()
    assert not any(os.path.exists(directory) for directory in group.paths.values())


def test_kill_works_by_signals_alone(group: cgroup.Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on kernels before 5.14 and hosts with v1 alone; a shell that forks all the time must not get away."""
    ready(group, {"pids": {"limit": 50}})
    monkeypatch.setattr(type(group), "kill_at_once", lambda self: False)
    with subprocess.Popen(
        ["sh", "-c", "read x; while :; do (sleep 0.01 &); done"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        group.join(process.pid)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(0.1)
        group.kill()
        assert group.processes() == []
        assert process.wait(10) == -signal.SIGKILL


def test_a_signal_goes_to_every_process(group: cgroup.Cgroup, sleeper: subprocess.Popen[bytes]) -> None:
    ready(group, {})
    group.join(sleeper.pid)
    assert group.signal(signal.SIGTERM) == 1
    assert sleeper.wait(10) == -signal.SIGTERM


def test_delete_names_the_process_that_is_in_the_way(
    group: cgroup.Cgroup, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup.files, "_REMOVE_SECONDS", 0.1)
    ready(group, {})
    group.join(sleeper.pid)
    with pytest.raises(CgroupError, match=f"still in use; processes: {sleeper.pid}"):
        group.delete()


def test_a_process_that_is_gone_cannot_be_moved(group: cgroup.Cgroup) -> None:
    ready(group, {})
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(CgroupError, match=f"move process {process.pid} to cgroup .*: no such process"):
        group.join(process.pid)


def opens(path: str, join: cgroup.Cgroup) -> bool:
    """Whether a process in the cgroup can open `path`."""
    with subprocess.Popen(
        ["sh", "-c", 'read x; exec 3<"$1"', "sh", path], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        join.join(process.pid)
        process.communicate(b"\n", timeout=30)
    return process.returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/kmsg"), reason="needs /dev/kmsg")
@pytest.mark.parametrize("allow", [False, True])
def test_device_rules_hold(group: cgroup.Cgroup, allow: bool) -> None:
    rules = [{"allow": False, "access": "rwm"}]
    if allow:
        rules.append({"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"})
    ready(group, {"devices": rules})
    assert opens("/dev/null", group)
    assert opens("/dev/kmsg", group) is allow


@pytest.mark.skipif(not os.path.exists("/dev/kmsg") or "" not in FACTS.cgroup_mounts, reason="needs /dev/kmsg and cgroup2")
@pytest.mark.parametrize("allow", [False, True])
def test_the_device_program_of_v2_holds(group: cgroup.Cgroup, allow: bool) -> None:
    """Also on a hybrid host: its unified hierarchy takes such programs too."""
    rules: list[dict[str, Any]] = [{"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"}] if allow else []
    group.create()
    bpf.attach_device_program(group.paths[""], device_rules.program(device_rules.effective({"devices": rules})))
    unified = cgroup.from_paths({"": group.paths[""]}, FACTS)
    assert opens("/dev/null", unified)
    assert opens("/dev/kmsg", unified) is allow
