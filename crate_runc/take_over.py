"""`delete --force` of a container that another command holds, such as a `create` that waits for a hook which never ends (flock(2), proc_locks(5)).

The other command gets ten seconds. Then the container's process is killed, which makes a healthy `create` fail, clean up and let go; and where
that does not help, the command that holds the lock, as a caller could do by hand. What it leaves is what any killed command leaves.
"""

from __future__ import annotations

import os

from crate_runc.errors import RuncError, StateError
from crate_runc.kernel import pidfd, signals
from crate_runc.state import store as state_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.state.store import Entry, StateStore

PATIENCE = 10.0
"""Seconds."""
_SECONDS_TO_END = 2.0


def open_entry(store: StateStore, container_id: str) -> Entry:
    """Locked. Raises StateError where there is no such container (any more), RuncError where the lock does not come."""
    for seconds, before in ((PATIENCE, None), (_SECONDS_TO_END, _kill_container), (_SECONDS_TO_END, _kill_holder)):
        if before:
            with store.open(container_id, lock=False) as entry:
                before(entry)
        try:
            return store.open(container_id, patience=seconds)
        except state_store.Busy:
            continue
    raise RuncError(f"delete container {container_id}: another command holds it, and does not end when it is killed")


def _kill_container(entry: Entry) -> None:
    try:
        state = entry.load()
        fd = pidfd.open_process(state.pid) if state.pid else -1
    except (StateError, ProcessLookupError):
        return
    if fd >= 0:
        if state_store.is_alive(state):  # after the pidfd: its number cannot be another process's now
            _kill(fd)
        os.close(fd)


def _kill_holder(entry: Entry) -> None:
    """Only a process of ours, or of root's, can have opened that directory."""
    pid = _holder(entry.directory)
    if not pid:
        return
    try:
        fd = pidfd.open_process(pid)
    except ProcessLookupError:
        return
    if _holder(entry.directory) == pid:
        _kill(fd)
    os.close(fd)


def _kill(process: int) -> None:
    try:
        pidfd.send_signal(process, signals.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _holder(directory: str) -> int:
    """The process that has the flock, 0 where none of our pid namespace has. `1: FLOCK  ADVISORY  WRITE 4711 00:1c:86 0 EOF`."""
    status = os.stat(directory)
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with open("/proc/locks", encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5] == place:
                return max(int(fields[4]), 0)
    return 0
