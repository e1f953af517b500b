"""Whatever is killed, the next command finds a state that it can handle, and nothing stays behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import IMAGE, Crate, eventually

DETACHED = ("run", "-d", "--network", "none")
SLEEP = (IMAGE, "sleep", "100")


def killed_monitor(crate: Crate, *command: str) -> str:
    identity = crate(*DETACHED, "--name", "orphan", *command).strip()
    monitor = crate.monitor(identity)
    os.kill(monitor, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{monitor}").exists())
    return identity


def test_without_its_monitor_a_container_still_runs_and_stops(crate: Crate) -> None:
    killed_monitor(crate, IMAGE, "sh", "-c", "trap 'exit 0' USR1; while :; do sleep 0.05; done")
    assert crate.state("orphan")["Status"] == "running"
    assert crate("exec", "orphan", "echo", "hi") == "hi\n"
    crate("stop", "-t", "5", "orphan")
    state = crate.state("orphan")
    assert state["Status"] == "exited"
    assert "lost" in str(state["Error"])
    crate("start", "orphan")
    assert crate.state("orphan")["Status"] == "running"


def test_without_its_monitor_a_container_is_removed_by_force(crate: Crate) -> None:
    killed_monitor(crate, *SLEEP)
    crate.both("rm", "orphan", status=1)
    crate("rm", "-f", "orphan")


def test_a_container_that_ends_after_its_monitor_is_never_shown_running(crate: Crate) -> None:
    identity = killed_monitor(crate, *SLEEP)
    pid = crate.state("orphan")["Pid"]
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert crate("ps", "-q") == ""
    assert "Exited" in crate("ps", "-a")
    assert not (crate.runroot / "containers" / identity).exists()


def test_after_a_reboot_nothing_runs(crate: Crate) -> None:
    """Simulated by another boot id in the running state of a container whose pids now belong to others."""
    identity = killed_monitor(crate, *SLEEP)
    path = crate.runroot / "containers" / identity / "state.json"
    state = json.loads(path.read_text())
    os.kill(state["init"]["pid"], signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{state['init']['pid']}").exists())
    bystander = os.getpid()
    state["init"]["pid"] = state["monitor"]["pid"] = bystander
    path.write_text(json.dumps(state | {"boot_id": "another"}))
    assert crate.state("orphan")["Status"] == "exited"
    crate("stop", "orphan")
    crate("rm", "-f", "orphan")


def test_a_pid_that_belongs_to_another_process_is_not_signalled(crate: Crate) -> None:
    identity = killed_monitor(crate, *SLEEP)
    path = crate.runroot / "containers" / identity / "state.json"
    state = json.loads(path.read_text())
    os.kill(state["init"]["pid"], signal.SIGKILL)
    victim = crate.start(["/bin/sleep", "100"])
    try:
        state["init"]["pid"] = state["monitor"]["pid"] = victim.pid
        path.write_text(json.dumps(state))
        crate.both("kill", "orphan", status=1)
        crate("stop", "orphan")
        crate("rm", "-f", "orphan")
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.communicate()


@pytest.mark.parametrize("milliseconds", range(20, 260, 20))
def test_a_command_killed_at_any_moment_leaves_what_the_next_can_handle(crate: Crate, milliseconds: int) -> None:
    process = crate.popen("run", "--name", "victim", "--network", "none", IMAGE, "sh", "-c", "sleep 0.1; exit 3")
    time.sleep(milliseconds / 1000)
    process.kill()
    process.communicate()
    crate("ps", "-a")
    names = crate("ps", "-aq").split()
    assert len(names) <= 1
    if names:
        crate("rm", "-f", "victim")
    crate("run", "--rm", "--name", "victim", "--network", "none", IMAGE, "true")


def test_a_removal_killed_in_the_middle_is_finished_by_the_next(crate: Crate) -> None:
    for milliseconds in range(10, 110, 15):
        crate("create", "--name", "victim", IMAGE)
        process = crate.popen("rm", "victim")
        time.sleep(milliseconds / 1000)
        process.kill()
        process.communicate()
        crate("ps", "-a")
        crate.popen("rm", "-f", "victim").communicate()
    crate("create", "--name", "victim", IMAGE)
    crate("rm", "victim")


def test_a_runtime_that_fails_leaves_a_created_container(crate: Crate) -> None:
    crate.both("run", "--name", "broken", "--network", "none", IMAGE, "nosuch", status=127)
    state = crate.state("broken")
    assert state["Status"] == "created"
    assert "executable file not found" in str(state["Error"])
    assert state["ExitCode"] == 127


def test_many_starts_at_once_make_one_container_run(crate: Crate) -> None:
    crate("create", "--name", "popular", "--network", "none", *SLEEP)
    processes = [crate.popen("start", "popular") for _ in range(4)]
    assert [process.wait(timeout=30) for process in processes] == [0] * 4
    for process in processes:
        process.communicate()
    assert len(crate("ps", "-q").split()) == 1
