"""What killed commands left in the store's working directories: `ingest/`, `trash/`, temporary files, run directories, lock files.

What a living process works at is no leftover: it holds a flock on its file, or on that of its claim. Nothing is changed here.
"""

from __future__ import annotations

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
    """By a living process. True as well of one that is gone, whose holder has just ended; but a claim comes before what it is for."""
    try:
        return locks.is_held(path, gone=not path.endswith(".claim"))
    except OSError:  # a link, or what is no file at all: no lock of ours
        return False
