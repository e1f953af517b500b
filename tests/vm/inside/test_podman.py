"""podman with crate-runc and its own default on such a host: cgroups made by systemd. As root and as an ordinary user."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.test_podman import Podman as CgroupfsPodman
from tests.support import host
from tests.support.programs import Account, eventually
from tests.vm.inside.test_systemd_driver import directory_of, files, is_gone, shown, systemctl


class Podman(CgroupfsPodman):
    def command(self, *words: str) -> list[str]:
        return ["systemd" if word == "cgroupfs" else word for word in super().command(*words)]

    def pid(self, name: str) -> int:
        return int(self.inspect(name, "{{.State.Pid}}"))


@pytest.fixture(scope="module")
def podman(account: Account, bin_directory: Path, base: Path) -> Iterator[Podman]:
    runtime_dir = Path(f"/run/user/{os.geteuid()}")
    if account.rootless:
        if not (runtime_dir / "bus").exists():
            pytest.skip("needs a bus of the user (a login session, or lingering)")
        account = dataclasses.replace(account, runtime_dir=runtime_dir)
    host.program("conmon")
    made = Podman(account, bin_directory / "crate-runc", base / f"podman-systemd-{account.uid}")
    assert made("info", "--format", "{{.Host.CgroupManager}}").out == "systemd\n"
    yield made
    if account.rootless:
        # podman keeps a process that holds the user namespace
        pause = base / f"podman-systemd-{account.uid}/tmp/pause.pid"
        if pause.exists():
            os.kill(int(pause.read_text()), signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_containers(podman: Podman) -> Iterator[None]:
    yield
    podman("pod", "rm", "--all", "--force", "--time", "0", status=None, timeout=120)
    podman("rm", "--all", "--force", "--time", "0", status=None, timeout=120)


def test_limits_of_a_container_are_those_of_its_unit(podman: Podman) -> None:
    flags = ("--detach", "--name", "sized", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50")
    identity = podman.run("sleep", "1000", flags=flags, timeout=120).out.strip()
    unit = f"libpod-{identity}.scope"
    directory = directory_of(podman.pid("sized"))
    assert directory.name == unit
    names = ("memory.max", "cpu.max", "pids.max")
    assert files(directory, *names) == [str(64 << 20), "50000 100000", "50"]
    inside = podman("exec", "sized", "sh", "-c", "cd /sys/fs/cgroup && cat memory.max cpu.max pids.max", timeout=120).out
    assert inside.splitlines() == files(directory, *names)
    assert shown(podman.account, unit, "MemoryMax", "TasksMax") == {"MemoryMax": str(64 << 20), "TasksMax": "50"}

    (stats,) = json.loads(podman("stats", "--no-stream", "--format", "json", "sized", timeout=120).out)
    assert stats["mem_usage"].endswith("/ 67.11MB")
    assert stats["pids"] == "1"

    podman("update", "--memory", "96m", "sized", timeout=120)
    assert files(directory, "memory.max") == [str(96 << 20)]
    assert shown(podman.account, unit, "MemoryMax") == {"MemoryMax": str(96 << 20)}

    podman("pause", "sized", timeout=120)
    assert files(directory, "cgroup.freeze") == ["1"]
    podman("unpause", "sized", timeout=120)
    podman("rm", "--force", "--time", "0", "sized", timeout=120)
    eventually(lambda: is_gone(podman.account, unit), "the unit is gone")
    assert not directory.exists()


def test_a_pod_ends_and_leaves_nothing(podman: Podman) -> None:
    podman("pod", "create", "--name", "pea", "--infra=false", "--share", "", timeout=120)
    for name in ("first", "second"):
        podman.run("sleep", "1000", flags=("--detach", "--pod", "pea", "--name", name), timeout=120)
    directories = [directory_of(podman.pid(name)) for name in ("first", "second")]
    podman("pod", "rm", "--force", "--time", "0", "pea", timeout=120)
    eventually(lambda: not any(directory.exists() for directory in directories), "the cgroups are gone")
    assert systemctl(podman.account, "list-units", "--state=failed", "--no-legend", "libpod*").out == ""
