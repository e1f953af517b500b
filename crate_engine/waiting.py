"""Waiting for a container's process and for its monitor, by pidfd and by the monitor's socket."""

from __future__ import annotations

import os
import select

from crate_engine import attach
from crate_engine.monitor import launch
from crate_engine.store.containers import ContainerStore, Record, is_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.paths import Store

_MONITOR_SECONDS = 10


def monitor_pidfd(store: Store, record: Record) -> int:
    """Of the container's living monitor, which the caller closes, or -1."""
    condition = ContainerStore(store).condition(record.id)
    if not condition.monitor:
        return -1
    try:
        return os.pidfd_open(condition.monitor)
    except ProcessLookupError:
        return -1


def wait_for(pid: int, start_time: int, timeout: float | None) -> bool:
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


def wait_for_monitor(store: Store, record: Record) -> None:
    """Until the container's end is recorded and everything is cleaned up; returns at once where no monitor lives."""
    pidfd = monitor_pidfd(store, record)
    if pidfd < 0:
        return
    try:
        attachment = attach.connect(ContainerStore(store).run_directory(record.id))
        if attachment is not None:
            attachment.wait_closed()
            attachment.close()
        else:
            # It does not listen any more: it may still feed a client that is slow to read, but nothing else takes it long.
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            poll.poll(_MONITOR_SECONDS * 1000)
    finally:
        os.close(pidfd)
        launch.collect()
