"""podman with crate-runc as its runtime: the calls that it and conmon make, in their order and with their environment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host, rootfs
from tests.support.programs import Account, Result
from tests.support.terminal import Session

# Limits that podman sets by default lie above what this process may have in a container without CAP_SYS_RESOURCE.
LIMITS = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=1024:1024")


class Podman:
    """podman on a store of its own, without network, on a root file system."""

    def __init__(self, account: Account, runtime: Path, directory: Path) -> None:
        self._account = account
        self._directory = directory
        self.rootfs = directory / "rootfs"
        self.rootfs.mkdir(parents=True)
        rootfs.fill(self.rootfs)
        places = ["--root", str(directory / "store"), "--runroot", str(directory / "run"), "--tmpdir", str(directory / "tmp")]
        modes = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "vfs"]
        self._program = [host.program("podman"), *places, *modes, "--runtime", str(runtime)]

    def command(self, *words: str) -> list[str]:
        return [*self._program, *words]

    def __call__(self, *words: str, status: int | None = 0) -> Result:
        return self._account.run(self.command(*words), status=status)

    def run(self, *words: str, status: int | None = 0, flags: tuple[str, ...] = ()) -> Result:
        return self("run", *LIMITS, "--network", "none", *flags, "--rootfs", str(self.rootfs), *words, status=status)

    def terminal(self, *words: str) -> Session:
        return Session(self._account, self.command(*words))


@pytest.fixture(scope="module")
def podman(ourselves: Account, bin_directory: Path, base: Path) -> Podman:
    host.need_root()
    host.program("conmon")
    made = Podman(ourselves, bin_directory / "crate-runc", base / "podman")
    made("info")
    return made


@pytest.fixture(autouse=True)
def no_containers(podman: Podman) -> Iterator[None]:
    yield
    podman("rm", "--all", "--force", "--time", "0", status=None)


def test_run(podman: Podman) -> None:
    result = podman.run("sh", "-c", "id -u; cat /proc/1/comm; exit 3", status=3, flags=("--rm",))
    assert result.out.split()[0] == "0"


@pytest.mark.parametrize(("program", "status"), [("nosuchprogram", 127), ("/bin/nosuch", 127), ("/etc/passwd", 126)])
def test_exit_status_of_programs_that_cannot_be_run(podman: Podman, program: str, status: int) -> None:
    """podman tells them apart by crate-runc's words."""
    podman.run(program, status=status, flags=("--rm",))


def test_life_of_a_container(podman: Podman) -> None:
    podman.run("sleep", "1000", flags=("--detach", "--name", "alive"))
    assert podman("exec", "alive", "sh", "-c", "echo in $(hostname | wc -c)").out.startswith("in")
    podman("exec", "alive", "sh", "-c", "exit 4", status=4)
    podman("exec", "alive", "nosuchprogram", status=127)
    assert podman("ps", "--format", "{{.Names}}").out == "alive\n"
    podman("stop", "--time", "1", "alive")
    state = json.loads(podman("inspect", "alive").out)[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 137)
    podman("rm", "alive")


def test_kill(podman: Podman) -> None:
    podman.run("sleep", "1000", flags=("--detach", "--name", "doomed"))
    podman("kill", "--signal", "KILL", "doomed")
    assert podman("wait", "doomed").out == "137\n"


def test_created_container_is_started(podman: Podman) -> None:
    flags = ("--name", "later", "--network", "none", *LIMITS, "--rootfs", str(podman.rootfs))
    podman("create", *flags, "echo", "now")
    assert "now" in podman("start", "--attach", "later").out


def test_terminal(podman: Podman) -> None:
    flags = ("--rm", "-it", "--network", "none", *LIMITS, "--env", "PS1=prompt> ")
    with podman.terminal("run", *flags, "--rootfs", str(podman.rootfs), "sh") as session:
        session.expect("prompt> ", timeout=20)
        session.resize(33, 77)
        session.send("sleep 0.5; stty size\n")
        session.expect("33 77\r\n")
        session.send("exit 9\n")
        assert session.wait() == 9


def test_terminal_of_exec(podman: Podman) -> None:
    podman.run("sleep", "1000", flags=("--detach", "--name", "host"))
    with podman.terminal("exec", "-it", "--env", "PS1=prompt> ", "host", "sh") as session:
        session.expect("prompt> ", timeout=20)
        session.send("exit 8\n")
        assert session.wait() == 8


def test_limits_and_security(podman: Podman) -> None:
    flags = ("--rm", "--pids-limit", "44", "--memory", "64m", "--cap-drop", "all", "--security-opt", "no-new-privileges")
    out = podman.run("grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status", flags=flags).out
    status = dict(re.findall(r"(\w+):\t(\w+)", out))
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"


def test_volumes_and_tmpfs(podman: Podman, tmp_path: Path) -> None:
    flags = ("--rm", "-v", f"{tmp_path}:/mnt", "--tmpfs", "/scratch:size=1m", "--read-only")
    podman.run("sh", "-c", "echo kept > /mnt/file; touch /scratch/x", flags=flags)
    assert (tmp_path / "file").read_text() == "kept\n"
