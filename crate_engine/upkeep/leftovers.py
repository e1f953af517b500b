"""What killed commands left in the store's working directories: `ingest/`, `trash/`, temporary files, run directories, lock files.

What a living process works at is no leftover: it holds a flock on its file, or on that of its claim. Nothing is changed here.
"""

from __future__ import annotations

import fcntl
import os
import stat

from crate_engine.store import locks
from crate_engine.store.containers import ContainerStore
from crate_engine.upkeep.finding import LEFTOVER, LOCK, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.store.paths import Store

_TEMPORARY = ".tmp"


def examine(store: Store) -> Iterator[Finding]:
    for name in sorted(os.listdir(store.ingest)):
        problem = _ingest_problem(store, name)
        if problem:
            yield Finding(LEFTOVER, f"ingest/{name}", problem, False)
    for name in sorted(os.listdir(store.trash)):
        yield Finding(LEFTOVER, f"trash/{name}", "it was not removed to the end", False)
    for name in sorted(os.listdir(store.oci)):
        if name.startswith(".") and name.endswith(_TEMPORARY):
            yield Finding(LEFTOVER, f"oci/{name}", "it was not written to the end", False)
    yield from _lock_files(store)
    containers = ContainerStore(store)
    for identity in sorted(os.listdir(store.run_containers)):
        if not os.path.lexists(containers.directory(identity)) and not containers.condition(identity).monitor:
            yield Finding(LEFTOVER, f"run {identity}", "its container is gone", False)


def _ingest_problem(store: Store, name: str) -> str:
    """Empty where a living process works at it."""
    if name.endswith(".layer"):
        claim = f"{store.ingest}/{name.partition('.')[0]}.claim"
        return "" if is_locked(claim) else "a layer that was not unpacked to the end"
    if is_locked(f"{store.ingest}/{name}"):
        return ""
    if name.endswith(".part"):
        return "a blob that was not fetched to the end; the next pull of its image continues"
    return "the mark of a process that was killed" if name.endswith((".claim", ".pull")) else "it is nothing of crate's"


def _lock_files(store: Store) -> Iterator[Finding]:
    for name in sorted(os.listdir(store.locks)):
        regular = stat.S_ISREG(os.lstat(f"{store.locks}/{name}").st_mode)
        if not regular or not locks.is_name(name):
            yield Finding(LOCK, f"locks/{name}", "it is no lock file")


def is_locked(path: str) -> bool:
    """Whether a living process holds the flock on a file. True as well of one that is gone: its holder has just ended."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return not path.endswith(".claim")
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
