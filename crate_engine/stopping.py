"""Ending containers: stop, wait, removal, and settling what a killed monitor left. Processes are addressed by pidfd only."""

from __future__ import annotations

import signal
import time

from crate_engine import attach, starting
from crate_engine.errors import ContainerNotFound, ContainerNotRunning, ContainerRunning, CrateError, UsageError
from crate_engine.layers.store import empty_trash
from crate_engine.store.containers import Condition, ContainerStore, Record
from crate_engine.waiting import wait_for, wait_for_monitor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.paths import Store

GONE = "removed"
"""The status of a container that is not in the store any more."""
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
        if not wait_for(condition.pid, condition.start_time, timeout if timeout is not None else _KILL_SECONDS):
            starting.kill(condition.pid, condition.start_time, signal.SIGKILL)
            if not wait_for(condition.pid, condition.start_time, _KILL_SECONDS):
                raise CrateError(f"stop container {record.name}: process {condition.pid} did not end on SIGKILL")
    wait_for_monitor(store, record)
    settle(store, record)


def settle(store: Store, record: Record) -> Condition:
    """Clean up after a killed monitor, once; the container's condition after that, of status GONE where it was made with --rm."""
    containers = ContainerStore(store)
    try:
        with containers.lock(record.id):
            condition = containers.condition(record.id)
            if not condition.stale or condition.status == "running":
                return condition
            starting.clean_up(store, record, condition)
            if not record.options.remove:
                return containers.condition(record.id)
            containers.take_out(record)  # what its monitor would have done at the end
    except ContainerNotFound:
        return Condition(status=GONE)  # removed meanwhile, as after --rm
    empty_trash(store)
    return Condition(status=GONE)


def wait(store: Store, record: Record) -> int:
    containers = ContainerStore(store)
    attachment = attach.connect(containers.run_directory(record.id))
    if attachment is not None:
        try:
            return attachment.wait_exited()
        except ContainerNotRunning:
            pass  # its monitor was killed, or had just stopped listening
        finally:
            attachment.close()
    condition = containers.condition(record.id)
    if condition.status == "running":
        wait_for(condition.pid, condition.start_time, None)
        condition = settle(store, record)
    if condition.exit_code is None:
        raise ContainerNotRunning(f"wait for container {record.name}: " + _why_no_status(condition))
    return condition.exit_code


def discard(store: Store, record: Record) -> None:
    """Remove a container that does not run; one that another command removed first is no error."""
    containers = ContainerStore(store)
    wait_for_monitor(store, record)
    settle(store, record)
    try:
        with containers.lock(record.id):
            if containers.condition(record.id).status in ("running", "starting"):
                raise ContainerRunning(f"remove container {record.name}: another command started it")
            containers.take_out(record)
    except ContainerNotFound:
        pass
    empty_trash(store)


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


def _why_no_status(condition: Condition) -> str:
    return "it was never started" if condition.status == "created" else "its monitor was killed, and the exit status is lost"
