"""podman with crate-runc as its runtime, by drop-in/podman/crate-runc.conf: what people do with it, as root and as an ordinary user.

What needs control groups of its own is tested as root here: an ordinary user has none on cgroup v1. On v2, with systemd, tests/vm does.
"""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host, rootfs
from tests.support.daemons import drop_in
from tests.support.programs import MARK, Account, Result, eventually
from tests.support.terminal import Session

# Limits that podman sets by default lie above what this process may have in a container without CAP_SYS_RESOURCE.
LIMITS = ("--ulimit", "nofile=512:512", "--ulimit", "nproc=1024:1024")


class Podman:
    """podman on a store of its own, without network, on a root file system."""

    def __init__(self, account: Account, runtime: Path, directory: Path) -> None:
        self.account = account
        self.rootfs = directory / "rootfs"
        self.rootfs.mkdir(parents=True)
        rootfs.fill(self.rootfs)
        configuration = directory / "containers.conf"
        configuration.write_text(drop_in("podman/crate-runc.conf", runtime))
        rootfs.give_to(directory, account.uid, account.gid)
        self.environment = {"CONTAINERS_CONF": str(configuration)}
        places = ["--root", str(directory / "store"), "--runroot", str(directory / "run"), "--tmpdir", str(directory / "tmp")]
        modes = ["--cgroup-manager", "cgroupfs", "--events-backend", "none", "--storage-driver", "vfs"]
        self._program = [host.program("podman"), *places, *modes]

    def command(self, *words: str) -> list[str]:
        return [*self._program, *words]

    def __call__(self, *words: str, status: int | None = 0, **options: object) -> Result:
        return self.account.run(self.command(*words), status=status, env=self.environment, **options)  # type: ignore[arg-type]

    def run(self, *words: str, status: int | None = 0, flags: tuple[str, ...] = (), **options: object) -> Result:
        return self(*self.run_words(*words, flags=flags), status=status, **options)

    def run_words(self, *words: str, flags: tuple[str, ...]) -> list[str]:
        return ["run", *LIMITS, "--network", "none", *flags, "--rootfs", str(self.rootfs), *words]

    def terminal(self, *words: str) -> Session:
        return Session(self.account, self.command(*words), env=self.environment)

    def inspect(self, name: str, template: str) -> str:
        return self("inspect", "--format", template, name).out.strip()


def _podman(account: Account, bin_directory: Path, directory: Path) -> Podman:
    host.program("conmon")
    made = Podman(account, bin_directory / "crate-runc", directory)
    made("info")
    return made


def _end_pause_processes() -> None:
    """podman keeps an ordinary user's namespaces by a process that stays when all else has ended, and that SIGTERM does not end."""
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            variables = (directory / "environ").read_bytes().split(b"\0")
        except OSError:  # it is gone, or another user's
            continue
        if {b"_PODMAN_PAUSE=1", f"{MARK}={os.getpid()}".encode()} <= set(variables):
            os.kill(int(directory.name), signal.SIGKILL)


@pytest.fixture(scope="module")
def podman(account: Account, bin_directory: Path, base: Path) -> Iterator[Podman]:
    yield _podman(account, bin_directory, base / f"podman-{account.uid}")
    _end_pause_processes()


@pytest.fixture(scope="module")
def podman_as_root(ourselves: Account, bin_directory: Path, base: Path) -> Podman:
    host.need_root()
    return _podman(ourselves, bin_directory, Path(tempfile.mkdtemp(prefix="p-", dir=base)))


@pytest.fixture(autouse=True)
def no_containers(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"podman", "podman_as_root"} & set(request.fixturenames):
        used: Podman = request.getfixturevalue(name)
        used("pod", "rm", "--all", "--force", "--time", "0", status=None)
        used("rm", "--all", "--force", "--time", "0", status=None)


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


def test_limits_and_security(podman_as_root: Podman) -> None:
    flags = ("--rm", "--pids-limit", "44", "--memory", "64m", "--cap-drop", "all", "--security-opt", "no-new-privileges")
    out = podman_as_root.run("grep", "-E", "Cap|NoNew|Seccomp:", "/proc/self/status", flags=flags).out
    status = dict(re.findall(r"(\w+):\t(\w+)", out))
    assert status["CapEff"] == status["CapBnd"] == "0" * 16
    assert status["NoNewPrivs"] == "1"


def test_volumes_and_tmpfs(podman: Podman, base: Path) -> None:
    volume = base / f"podman-volume-{podman.account.uid}"
    volume.mkdir()
    os.chown(volume, podman.account.uid, podman.account.gid)
    flags = ("--rm", "-v", f"{volume}:/mnt", "--tmpfs", "/scratch:size=1m", "--read-only")
    podman.run("sh", "-c", "echo kept > /mnt/file; touch /scratch/x", flags=flags)
    assert (volume / "file").read_text() == "kept\n"


def test_an_error_of_the_runtime_is_read_from_its_log(podman: Podman) -> None:
    """Only a runtime that is known to write JSON is asked for it; its text is then told without the frame of the log."""
    result = podman.run("nosuchprogram", status=127, flags=("--rm",))
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in result.err
    assert "level=error" not in result.err.replace('"level":"error"', "level=error")


def test_exec_with_environment_user_and_directory(podman: Podman) -> None:
    podman.run("sleep", "1000", flags=("--detach", "--name", "host"))
    out = podman("exec", "--env", "A=b", "--user", "1000:50", "--workdir", "/tmp", "host", "sh", "-c", "echo $A; id -u; pwd").out
    assert out == "b\n1000\n/tmp\n"
    podman("exec", "--detach", "host", "touch", "/dev/shm/detached")
    eventually(lambda: podman("exec", "host", "ls", "/dev/shm").out == "detached\n", "the detached program ran")


def test_top_lists_the_processes(podman: Podman) -> None:
    podman.run("sleep", "1000", flags=("--detach", "--name", "busy"))
    lines = podman("top", "busy", "pid", "args").out.splitlines()
    assert [line.split() for line in lines[1:]] == [["1", "sleep", "1000"]]


def test_health_check(podman: Podman) -> None:
    podman.run(
        "sleep",
        "1000",
        flags=("--detach", "--name", "patient", "--health-cmd", "test -e /dev/shm/well", "--health-interval", "disable"),
    )
    podman("healthcheck", "run", "patient", status=1)
    podman("exec", "patient", "touch", "/dev/shm/well")
    podman("healthcheck", "run", "patient")


def test_restart(podman: Podman) -> None:
    podman.run("sh", "-c", "echo up; exec sleep 1000", flags=("--detach", "--name", "again"))
    first = podman.inspect("again", "{{.State.Pid}}")
    podman("restart", "--time", "0", "again")
    assert podman.inspect("again", "{{.State.Pid}}") not in (first, "0")
    eventually(lambda: podman("logs", "again").out == "up\nup\n", "both runs are in the log")


def test_descriptors_are_passed_on(podman: Podman) -> None:
    reading, writing = os.pipe()
    try:
        words = podman.run_words("sh", "-c", "echo through >&3", flags=("--rm", "--preserve-fds", "1"))
        command = ["bash", "-c", f'exec "$@" 3>&{writing}', "bash", *podman.command(*words)]
        podman.account.run(command, status=0, env=podman.environment, pass_fds=(writing,))
        os.set_blocking(reading, False)
        assert os.read(reading, 100) == b"through\n"
    finally:
        os.close(reading)
        os.close(writing)


def test_pod_shares_namespaces(podman: Podman) -> None:
    podman("pod", "create", "--name", "pea", "--infra=false", "--share", "")
    flags = ("--detach", "--pod", "pea")
    podman.run("sleep", "1000", flags=(*flags, "--name", "first"))
    podman.run("sleep", "2000", flags=(*flags, "--name", "second", "--pid", "container:first", "--ipc", "container:first"))
    processes = podman("exec", "second", "ps").out
    assert "sleep 1000" in processes
    assert "sleep 2000" in processes
    assert podman("pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}").out == "Running 2\n"
    podman("pod", "stop", "--time", "0", "pea")
    assert podman.inspect("first", "{{.State.Status}}") == "exited"


def test_pause_and_unpause(podman_as_root: Podman) -> None:
    podman_as_root.run("sleep", "1000", flags=("--detach", "--name", "still"))
    podman_as_root("pause", "still")
    assert podman_as_root.inspect("still", "{{.State.Status}}") == "paused"
    podman_as_root("unpause", "still")
    podman_as_root("exec", "still", "true")


def test_update_changes_the_limits_of_a_running_container(podman_as_root: Podman) -> None:
    flags = ("--detach", "--name", "sized", "--memory", "64m", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro")
    podman_as_root.run("sleep", "1000", flags=flags)
    assert _memory_limit(podman_as_root, "sized") == 64 << 20
    podman_as_root("update", "--memory", "96m", "sized")
    assert _memory_limit(podman_as_root, "sized") == 96 << 20


def _memory_limit(podman: Podman, name: str) -> int:
    """In bytes, read in the control group of the container's init."""
    pid = podman.inspect(name, "{{.State.Pid}}")
    groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    if "memory" in groups:
        directory = host.cgroup_directory("memory")
        assert directory
        return int((directory / groups["memory"].lstrip("/") / "memory.limit_in_bytes").read_text())
    return int((Path("/sys/fs/cgroup") / groups[""].lstrip("/") / "memory.max").read_text())


def test_stats(podman_as_root: Podman) -> None:
    podman_as_root.run("sleep", "1000", flags=("--detach", "--name", "busy", "--memory", "64m"))
    (stats,) = json.loads(podman_as_root("stats", "--no-stream", "--format", "json", "busy").out)
    assert stats["mem_usage"].endswith("/ 67.11MB")
    assert stats["pids"] == "1"
