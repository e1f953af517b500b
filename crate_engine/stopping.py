"""Ending containers: stop, wait, removal, and settling what a killed monitor left. Processes are addressed by pidfd only."""

from __future__ import annotations

import os
import select
import signal
import time

from crate_engine import attach, starting
from crate_engine.errors import ContainerNotFound, ContainerNotRunning, CrateError, UsageError
from crate_engine.layers.store import empty_trash
from crate_engine.monitor import launch
from crate_engine.store.containers import Condition, ContainerStore, Record, is_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.paths import Store

_KILL_SECONDS = 10
_STARTING_SECONDS = 30


def stop(store: Store, record: Record, stop_signal: str, timeout: int | None) -> None:
    """Returns when the container has ended and its monitor has recorded that. `timeout` None: the signal is SIGKILL already."""
    containers = ContainerStore(store)
    condition = containers.condition(record.id)
    if condition.status == "starting":
        condition = _wait_until_started(containers, record)
    if condition.status == "running":
        starting.kill(condition.pid, condition.start_time, signal_number(stop_signal))
        if not _wait_for(condition.pid, condition.start_time, timeout if timeout is not None else _KILL_SECONDS):
            starting.kill(condition.pid, condition.start_time, signal.SIGKILL)
            if not _wait_for(condition.pid, condition.start_time, _KILL_SECONDS):
                raise CrateError(f"stop container {record.name}: process {condition.pid} did not end on SIGKILL")
    _wait_for_monitor(store, record)
    settle(store, record)


def settle(store: Store, record: Record) -> Condition:
    """Clean up after a killed monitor, once; the container's condition after that."""
    containers = ContainerStore(store)
    try:
        with containers.lock(record.id):
            condition = containers.condition(record.id)
            if condition.stale and condition.status != "running":
                starting.clean_up(store, record, condition)
                return containers.condition(record.id)
            return condition
    except ContainerNotFound:
        return Condition(status="exited")  # removed meanwhile, as after --rm


def wait(store: Store, record: Record) -> int:
    containers = ContainerStore(store)
    attachment = attach.connect(containers.run_directory(record.id))
    if attachment is not None:
        try:
            return attachment.wait_exited()
        finally:
            attachment.close()
    condition = containers.condition(record.id)
    if condition.status == "running":
        _wait_for(condition.pid, condition.start_time, None)
        condition = settle(store, record)
    if condition.exit_code is None:
        raise ContainerNotRunning(f"wait for container {record.name}: " + _why_no_status(condition))
    return condition.exit_code


def discard(store: Store, record: Record) -> None:
    """Remove a container that does not run; one that another command removed first is no error."""
    containers = ContainerStore(store)
    settle(store, record)
    try:
        with containers.lock(record.id):
            containers.take_out(record)
    except ContainerNotFound:
        pass
    empty_trash(store)


def monitor_pidfd(store: Store, record: Record) -> int:
    """Of the container's living monitor, which the caller closes, or -1."""
    condition = ContainerStore(store).condition(record.id)
    if not condition.monitor:
        return -1
    try:
        return os.pidfd_open(condition.monitor)
    except ProcessLookupError:
        return -1


def signal_number(text: str) -> int:
    """Of a name with or without SIG, a number, or `RTMIN+3`. Raises UsageError."""
    name = text.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit() and 0 < int(name) < signal.NSIG:
        return int(name)
    base, sign, offset = (
        (name.partition("+") if "+" in name else name.partition("-")) if name.startswith("RTM") else (name, "", "")
    )
    found = getattr(signal, f"SIG{base}", None)
    if isinstance(found, int) and not base.startswith("_") and (not sign or (offset.isascii() and offset.isdigit())):
        number = found + (int(offset) if sign == "+" else -int(offset or 0))
        if 0 < number < signal.NSIG:
            return number
    raise UsageError(f"signal {text[:40]!r}: unknown", hint="for example TERM, SIGKILL, 15 or RTMIN+3")


def _wait_until_started(containers: ContainerStore, record: Record) -> Condition:
    """A start takes a fraction of a second; whoever stops at that moment waits for its outcome."""
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline:
        condition = containers.condition(record.id)
        if condition.status != "starting":
            return condition
        time.sleep(0.02)
    raise CrateError(f"stop container {record.name}: it has been starting for {_STARTING_SECONDS} seconds")


def _wait_for(pid: int, start_time: int, timeout: float | None) -> bool:
    """Whether the process has ended within `timeout` seconds; None or a negative number: as long as it takes."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not is_same({"pid": pid, "start_time": start_time}):
            return True
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(None if timeout is None or timeout < 0 else timeout * 1000))
    finally:
        os.close(pidfd)


def _wait_for_monitor(store: Store, record: Record) -> None:
    """Until the container's end is recorded and its things are cleaned up: the monitor then closes its socket to everyone."""
    pidfd = monitor_pidfd(store, record)
    if pidfd < 0:
        return
    try:
        attachment = attach.connect(ContainerStore(store).run_directory(record.id))
        if attachment is not None:
            try:
                attachment.wait_exited()
            except ContainerNotRunning:
                pass
            finally:
                attachment.close()
            launch.collect()
            return
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.poll(_KILL_SECONDS * 1000)
    finally:
        os.close(pidfd)


def _why_no_status(condition: Condition) -> str:
    return "it was never started" if condition.status == "created" else "its monitor was killed, and the exit status is lost"
