"""delete --force of a container that another command holds: it waits a little, ends the container, then the command."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_runc import take_over
from crate_runc.state.record import ContainerState
from crate_runc.state.store import StateStore, boot_id, start_time


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_over, "PATIENCE", 0.05)
    monkeypatch.setattr(take_over, "_SECONDS_TO_END", 0.5)


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    return StateStore(str(tmp_path / "root"))


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process that stands for the container's."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    yield pid
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _made(store: StateStore, pid: int) -> None:
    with store.create("c") as entry:
        state = ContainerState(id="c", bundle="/b", rootfs="/b/r", config={}, owner=0, created="", pid=pid)
        state.start_time, state.boot_id = start_time(pid) or 0, boot_id()
        entry.save(state)


def _hold(store: StateStore, until_end_of: int = 0) -> int:
    """A process that holds the lock, for ever or until the other is gone; returns once it has it."""
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        fd = os.open(f"{store.root}/c", os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.write(writing, b"x")
        while not until_end_of or start_time(until_end_of) is not None:
            time.sleep(0.01)
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    return holder


def test_a_lock_that_is_let_go_is_waited_for(store: StateStore, sleeper: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(take_over, "PATIENCE", 30)
    brief = os.fork()
    if brief == 0:
        time.sleep(0.1)
        os._exit(0)
    _made(store, sleeper)
    holder = _hold(store, until_end_of=brief)
    take_over.open_entry(store, "c").close()
    assert os.waitpid(holder, 0)[1] == 0
    os.waitpid(brief, 0)
    assert start_time(sleeper) is not None, "the container was left alone"


def test_a_command_that_fails_with_its_container_ends_by_itself(store: StateStore, sleeper: int) -> None:
    _made(store, sleeper)
    holder = _hold(store, until_end_of=sleeper)
    take_over.open_entry(store, "c").close()
    assert os.waitpid(holder, 0)[1] == 0
    assert os.waitpid(sleeper, 0)[1] == signal.SIGKILL


def test_a_command_that_hangs_is_killed(store: StateStore, sleeper: int) -> None:
    _made(store, sleeper)
    holder = _hold(store)
    take_over.open_entry(store, "c").close()
    assert os.waitpid(holder, 0)[1] == signal.SIGKILL


def test_a_number_that_is_another_process_now_is_left_alone(store: StateStore, sleeper: int) -> None:
    with store.create("c") as entry:
        state = ContainerState(id="c", bundle="/b", rootfs="/b/r", config={}, owner=0, created="", pid=sleeper)
        state.start_time, state.boot_id = 1, boot_id()
        entry.save(state)
    holder = _hold(store)
    take_over.open_entry(store, "c").close()
    os.waitpid(holder, 0)
    assert start_time(sleeper) is not None
