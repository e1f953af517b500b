"""containerd with crate-runc as its runtime: what its shim calls, through ctr."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.interop.conftest import IMAGE
from tests.support import host
from tests.support.daemons import CGROUP_PARENT, Containerd
from tests.support.programs import Result, eventually
from tests.support.terminal import Session


class Task:
    """One container of ctr, on a root file system of its own."""

    def __init__(self, containerd: Containerd) -> None:
        self.containerd = containerd
        self.id = f"ct-{secrets.token_hex(4)}"

    def words(self, *words: str, flags: tuple[str, ...] = ()) -> list[str]:
        runtime = ("--runc-binary", str(self.containerd.runtime), "--snapshotter", "native")
        cgroup = ("--cgroup", f"/{CGROUP_PARENT}/{self.id}")
        return ["run", *runtime, *cgroup, *flags, IMAGE, self.id, *words]

    def run(self, *words: str, flags: tuple[str, ...] = (), status: int | None = 0) -> Result:
        return self.containerd.ctr(*self.words(*words, flags=flags), status=status)

    def __call__(self, *words: str, status: int | None = 0) -> Result:
        """`ctr task VERB`, with the id after the verb and its flags."""
        return self.containerd.ctr("task", *words, status=status)

    def status(self) -> str:
        rows = [line.split() for line in self("ls").out.splitlines()]
        return next((row[2] for row in rows if row[0] == self.id), "")


@pytest.fixture
def task(containerd: Containerd) -> Iterator[Task]:
    made = Task(containerd)
    yield made
    if made.status():
        made("kill", "--signal", "SIGKILL", "--all", made.id, status=None)
        eventually(lambda: made.status() in ("STOPPED", ""), "the task ends")
        made("rm", made.id, status=None)
    containerd.ctr("containers", "rm", made.id, status=None)


def test_run_gives_the_status_and_both_streams(task: Task) -> None:
    result = task.run("sh", "-c", "id -u; echo aside >&2; exit 3", flags=("--rm",), status=3)
    assert (result.out, result.err.splitlines()[0]) == ("0\n", "aside")


def test_a_program_that_is_missing_is_told_in_the_words_of_the_shim(task: Task) -> None:
    result = task.run("nosuchprogram", flags=("--rm",), status=1)
    assert "OCI runtime create failed" in result.err
    assert 'exec: "nosuchprogram": executable file not found in $PATH' in result.err


def test_life_of_a_task(task: Task) -> None:
    task.run("sleep", "1000", flags=("--detach",))
    assert task.status() == "RUNNING"
    assert task("exec", "--exec-id", "one", task.id, "sh", "-c", "hostname >/dev/null; echo in").out == "in\n"
    task("exec", "--exec-id", "two", task.id, "sh", "-c", "exit 4", status=4)
    missing = task("exec", "--exec-id", "three", task.id, "nosuchprogram", status=1)
    assert "executable file not found in $PATH" in missing.err
    task("pause", task.id)
    assert task.status() == "PAUSED"
    task("resume", task.id)
    assert task.status() == "RUNNING"
    assert len(task("ps", task.id).out.splitlines()) == 2, "a headline and the one process"
    task("kill", "--signal", "SIGKILL", task.id)
    eventually(lambda: task.status() == "STOPPED", "the task ends")
    assert "exit with non-zero exit code 137" in task("delete", task.id).err
    assert task.status() == ""


def test_signals_reach_the_program_by_number_and_name(task: Task) -> None:
    script = "trap 'echo usr1; exit 7' USR1; echo ready; while true; do sleep 0.1; done"
    command = task.containerd.enclosure.command(*task.containerd.ctr_command(*task.words("sh", "-c", script, flags=("--rm",))))
    with Session(task.containerd.enclosure.account, command) as session:
        session.expect("ready")
        task("kill", "--signal", "SIGUSR1", task.id)
        session.expect("usr1")
        assert session.wait() == 7


def test_terminal(task: Task) -> None:
    command = task.containerd.ctr_command(*task.words("sh", flags=("--rm", "--tty", "--env", "PS1=prompt> ")))
    with Session(task.containerd.enclosure.account, task.containerd.enclosure.command(*command), rows=33, columns=77) as session:
        session.expect("prompt> ", timeout=20)
        session.send("stty size; tty\n")
        session.expect("33 77\r")
        session.expect("/dev/")
        session.send("exit 9\n")
        assert session.wait() == 9


def test_terminal_of_exec(task: Task) -> None:
    task.run("sleep", "1000", flags=("--detach",))
    words = ["task", "exec", "--tty", "--exec-id", "shell", task.id, "sh"]
    with Session(
        task.containerd.enclosure.account, task.containerd.enclosure.command(*task.containerd.ctr_command(*words))
    ) as session:
        session.expect("# ", timeout=20)
        session.send("tty; exit 8\n")
        session.expect("/dev/pts/")
        assert session.wait() == 8


def test_limits_and_default_seccomp_profile(task: Task) -> None:
    flags = ("--rm", "--memory-limit", str(64 << 20), "--seccomp")
    out = task.run("sh", "-c", "grep Seccomp: /proc/self/status; cat /proc/self/cgroup", flags=flags).out
    assert "Seccomp:\t2" in out
    assert f"/{CGROUP_PARENT}/{task.id}" in out or host.cgroup_mode() == "v2", "on v2 it has a cgroup namespace"


def test_metrics_come_from_the_cgroup_that_was_made(task: Task) -> None:
    task.run("sleep", "1000", flags=("--detach", "--memory-limit", str(64 << 20)))
    metrics = task("metrics", task.id).out
    assert task.id in metrics
    assert str(64 << 20) in metrics
