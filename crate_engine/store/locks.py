"""flock(2) locks on files in the store's `locks/`, taken in one global order: store < image < layer < container < network.

A lock dies with its holder. None is held over network I/O or unpacking: long work holds a lease (`leases.py`).
"""

from __future__ import annotations

import _thread
import fcntl
import os
from contextlib import contextmanager

from crate_engine.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.store.paths import Store

_ORDER = ("store", "image", "layer", "container", "network")
_held: list[tuple[int, int]] = []
"""(thread, rank) of every lock this process holds; only for the order check."""


@contextmanager
def lock(store: Store, name: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock `store`, `image`, or `<kind>-<id>` of the other kinds; waits as long as another process holds it.

    The lock files are never unlinked: a second file of the same name would be a second lock.
    """
    mine = (_thread.get_ident(), _rank(name))
    if __debug__:
        above = [rank for thread, rank in _held if thread == mine[0] and rank >= mine[1]]
        assert not above, f"lock {name} taken while {_ORDER[above[-1]]} is held: the order is {' < '.join(_ORDER)}"
    path = f"{store.locks}/{name}"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"open lock {path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        except OSError as error:
            raise StoreError(f"take lock {path}: {error.strerror}") from error
        _held.append(mine)
        try:
            yield
        finally:
            _held.remove(mine)
    finally:
        os.close(fd)


def is_held(path: str, *, gone: bool) -> bool:
    """Whether a living process holds the flock on a file or directory. `gone` is the answer for one that is not there. Raises OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return gone
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def is_name(name: str) -> bool:
    """Whether a file of this name in `locks/` is a lock."""
    kind, dash, rest = name.partition("-")
    return kind in _ORDER and (not dash or bool(rest))


def _rank(name: str) -> int:
    kind = name.partition("-")[0]
    if kind not in _ORDER or "/" in name:
        raise ValueError(f"lock {name}: unknown kind")
    return _ORDER.index(kind)
