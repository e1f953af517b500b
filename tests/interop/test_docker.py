"""dockerd with crate-runc as its default runtime, by drop-in/docker/daemon.json: what people do with docker."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_runc import VERSION
from tests.interop.conftest import IMAGE
from tests.support.daemons import Docker
from tests.support.programs import eventually
from tests.support.terminal import Session

QUIET = ("--network", "none")


@pytest.fixture(autouse=True)
def no_containers(docker: Docker) -> Iterator[None]:
    yield
    left = docker("ps", "--all", "--quiet").out.split()
    if left:
        docker("rm", "--force", *left)


def _inspect(docker: Docker, name: str, template: str) -> str:
    return docker("inspect", "--format", template, name).out.strip()


def test_info_names_the_runtime_and_its_version(docker: Docker) -> None:
    info = json.loads(docker("info", "--format", "{{json .}}").out)
    assert info["DefaultRuntime"] == "crate"
    assert VERSION in info["RuncCommit"]["ID"]


def test_run_gives_the_status_and_both_streams(docker: Docker) -> None:
    result = docker("run", "--rm", *QUIET, IMAGE, "sh", "-c", "id -u; echo aside >&2; exit 3", status=3)
    assert (result.out, result.err) == ("0\n", "aside\n")


@pytest.mark.parametrize(("program", "status"), [("nosuchprogram", 127), ("/bin/nosuch", 127), ("/etc/passwd", 126)])
def test_exit_status_of_programs_that_cannot_be_run(docker: Docker, program: str, status: int) -> None:
    """docker tells them apart by the runtime's words."""
    docker("run", "--rm", *QUIET, IMAGE, program, status=status)


def test_run_on_a_terminal(docker: Docker) -> None:
    with Session(docker.account, docker.command("run", "--rm", "-it", *QUIET, "--env", "PS1=prompt> ", IMAGE, "sh")) as session:
        session.expect("prompt> ", timeout=20)
        session.resize(33, 77)
        session.send("sleep 0.5; stty size\n")
        session.expect("33 77\r\n")
        session.send("exit 9\n")
        assert session.wait() == 9


def test_exec(docker: Docker) -> None:
    docker("run", "--detach", "--name", "host", *QUIET, IMAGE, "sleep", "1000")
    assert docker("exec", "--env", "A=b", "--workdir", "/tmp", "host", "sh", "-c", "echo $A; pwd").out == "b\n/tmp\n"
    assert docker("exec", "--user", "1000:50", "host", "id").out.startswith("uid=1000(alice) gid=50(staff)")
    docker("exec", "host", "sh", "-c", "exit 4", status=4)
    docker("exec", "host", "nosuchprogram", status=126 if _old(docker) else 127)


def _old(docker: Docker) -> bool:
    """Until 23.0, docker answered 126 for a program that exec does not find, with runc as with any other runtime."""
    return int(docker("version", "--format", "{{.Server.Version}}").out.split(".")[0]) < 23


def test_exec_on_a_terminal(docker: Docker) -> None:
    docker("run", "--detach", "--name", "host", *QUIET, IMAGE, "sleep", "1000")
    with Session(docker.account, docker.command("exec", "-it", "--env", "PS1=prompt> ", "host", "sh")) as session:
        session.expect("prompt> ", timeout=20)
        session.send("exit 8\n")
        assert session.wait() == 8


def test_restart_and_stop(docker: Docker) -> None:
    script = "trap 'exit 0' TERM; echo up; while true; do sleep 0.1; done"
    docker("run", "--detach", "--name", "again", *QUIET, IMAGE, "sh", "-c", script)
    first = _inspect(docker, "again", "{{.State.Pid}}")
    docker("restart", "--time", "5", "again")
    assert _inspect(docker, "again", "{{.State.Pid}}") not in (first, "0")
    eventually(lambda: docker("logs", "again").out == "up\nup\n", "both runs are in the log")
    docker("stop", "--time", "5", "again")
    assert _inspect(docker, "again", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"


def test_restart_policy(docker: Docker) -> None:
    docker("run", "--detach", "--name", "stubborn", "--restart", "on-failure:2", *QUIET, IMAGE, "sh", "-c", "echo try; exit 5")
    eventually(lambda: docker("logs", "stubborn").out == "try\n" * 3, "three tries", within=20)
    assert _inspect(docker, "stubborn", "{{.RestartCount}}") == "2"


def test_pause_kill_and_wait(docker: Docker) -> None:
    docker("run", "--detach", "--name", "still", *QUIET, IMAGE, "sleep", "1000")
    docker("pause", "still")
    assert _inspect(docker, "still", "{{.State.Status}}") == "paused"
    docker("unpause", "still")
    docker("kill", "--signal", "KILL", "still")
    assert docker("wait", "still").out == "137\n"


def test_update_changes_the_limits_of_a_running_container(docker: Docker) -> None:
    flags = ("--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50", "--cgroupns", "host")
    docker("run", "--detach", "--name", "sized", *QUIET, *flags, IMAGE, "sleep", "1000")
    assert _limits(docker, "sized") == (64 << 20, 50)
    docker("update", "--memory", "96m", "--memory-swap", "96m", "--pids-limit", "60", "sized")
    assert _limits(docker, "sized") == (96 << 20, 60)


def _limits(docker: Docker, name: str) -> tuple[int, int]:
    """Memory in bytes and processes, as the container reads them in its cgroup mount."""
    v1 = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max"
    script = f"{v1} 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    memory, processes = docker("exec", name, "sh", "-c", script).out.split()
    return int(memory), int(processes)


def test_stats_and_top(docker: Docker) -> None:
    docker("run", "--detach", "--name", "busy", "--memory", "64m", *QUIET, IMAGE, "sleep", "1000")
    stats = json.loads(docker("stats", "--no-stream", "--format", "{{json .}}", "busy").out)
    assert stats["MemUsage"].endswith("/ 64MiB")
    assert int(stats["PIDs"]) == 1
    top = docker("top", "busy").out.splitlines()
    assert len(top) == 2
    assert top[1].endswith("sleep 1000")


def test_health_check(docker: Docker) -> None:
    flags = ("--health-cmd", "test -e /tmp/well", "--health-interval", "300ms", "--health-retries", "1")
    docker("run", "--detach", "--name", "patient", *QUIET, *flags, IMAGE, "sleep", "1000")
    health = "{{.State.Health.Status}}"
    eventually(lambda: _inspect(docker, "patient", health) == "unhealthy", "it is found unhealthy", within=20)
    docker("exec", "patient", "touch", "/tmp/well")
    eventually(lambda: _inspect(docker, "patient", health) == "healthy", "it is found healthy", within=20)


def test_defaults_of_docker_hold(docker: Docker) -> None:
    """Its seccomp profile, its capabilities, its masks."""
    script = "grep -E 'Seccomp:|CapBnd' /proc/self/status; head -c1 /proc/kcore | wc -c; touch /proc/sys/kernel/hostname 2>&1"
    out = docker("run", "--rm", *QUIET, IMAGE, "sh", "-c", script, status=1).out
    status = dict(re.findall(r"(\w+):\t(\w+)", out))
    assert status["Seccomp"] == "2"
    assert int(status["CapBnd"], 16) == 0xA80425FB
    assert "\n0\n" in out
    assert "Read-only file system" in out


def test_privileged_container_and_devices(docker: Docker) -> None:
    script = "grep Seccomp: /proc/self/status; mount -t tmpfs none /mnt && echo mounted; test -b /dev/loop0 -o -c /dev/kmsg && echo devices"
    out = docker("run", "--rm", "--privileged", *QUIET, IMAGE, "sh", "-c", f"mkdir -p /mnt; {script}").out
    assert "Seccomp:\t0" in out
    assert "mounted" in out


def test_namespaces_shared_between_containers(docker: Docker) -> None:
    docker("run", "--detach", "--name", "first", "--ipc", "shareable", *QUIET, IMAGE, "sleep", "1000")
    shared = ("--pid", "container:first", "--ipc", "container:first", "--network", "container:first")
    out = docker("run", "--rm", *shared, IMAGE, "sh", "-c", "ps; readlink /proc/1/ns/net; readlink /proc/self/ns/net").out
    assert "sleep 1000" in out
    assert len(set(re.findall(r"net:\[\d+\]", out))) == 1


def test_volumes_tmpfs_and_read_only_root(docker: Docker, base: Path) -> None:
    shared = base / "docker-volume"
    shared.mkdir()
    (shared / "from-host").write_text("hello")
    flags = ("--volume", f"{shared}:/data", "--volume", f"{shared}:/fixed:ro", "--tmpfs", "/scratch:size=1m", "--read-only")
    script = "cat /data/from-host; echo back >/data/answer; touch /scratch/x; touch /fixed/x 2>&1; touch /x 2>&1; true"
    out = docker("run", "--rm", *QUIET, *flags, IMAGE, "sh", "-c", script).out
    assert out.startswith("hello")
    assert (shared / "answer").read_text() == "back\n"
    assert out.count("Read-only file system") == 2
