"""Leases: what long work holds instead of a lock, as flocks on files in `ingest/` that end with their holder.

Two kinds: a *claim* says that one process does a piece of work (unpacks a layer), others wait and find it done; a *protection* lists digests
that a pull needs and no index names yet, so that nothing prunes them meanwhile. A killed process leaves a file that the next one removes.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

from crate_engine.errors import StoreError
from crate_engine.store import locks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from crate_engine.store.paths import Store

_CLAIM, _PROTECTION = ".claim", ".pull"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def open_claimed(path: str, *, wait: bool = True) -> int | None:
    """An fd of the file at `path`, made when missing, that holds an exclusive flock; None without `wait` when another process has it.

    Waits as long as the holder lives. When it is done the file is gone, and the wait ends with a new one.
    """
    try:
        while True:
            fd = os.open(path, _FLAGS, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if _is_at(fd, path):
                    return fd
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
    except OSError as error:
        raise StoreError(f"open {path}: {error.strerror}") from error


def _is_at(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


@contextmanager
def claim(store: Store, work: str) -> Iterator[None]:
    """Do `work`, a name like `layer-<hex>`, alone; waits for whoever does it now, and then finds out whether it is still to be done."""
    path = f"{store.ingest}/{work}{_CLAIM}"
    fd = open_claimed(path)
    assert fd is not None
    try:
        yield
    finally:
        os.unlink(path)
        os.close(fd)


def is_claimed(store: Store, work: str) -> bool:
    """Whether a living process does this work. Leaves no file behind."""
    return not _remove_dead(f"{store.ingest}/{work}{_CLAIM}")


def sweep(store: Store) -> bool:
    """Remove the files of dead processes; True where one of them was a pull, which may have left blobs and layers that nobody needs."""
    dead = [
        name
        for name in os.listdir(store.ingest)
        if name.endswith((_CLAIM, _PROTECTION)) and _remove_dead(f"{store.ingest}/{name}")
    ]
    return any(name.endswith(_PROTECTION) for name in dead)


def _remove_dead(path: str) -> bool:
    fd = open_claimed(path, wait=False)
    if fd is None:
        return False
    os.unlink(path)
    os.close(fd)
    return True


@contextmanager
def protect(store: Store, digests: Iterable[object]) -> Iterator[None]:
    """Keep blobs and layers of these digests from being pruned. Taken and let go under the lock `image`, under which pruning happens too."""
    from crate_engine.store import durable

    path = f"{store.ingest}/{os.urandom(8).hex()}{_PROTECTION}"
    fd = open_claimed(path)
    assert fd is not None
    try:
        try:
            durable.write_all(fd, "\n".join(str(digest) for digest in digests).encode())
        except OSError as error:
            raise StoreError(f"write {path}: {error.strerror}") from error
        yield
    finally:
        os.unlink(path)
        os.close(fd)


def protected(store: Store) -> set[str]:
    """The digests that living pulls need. The caller holds the lock `image`."""
    digests: set[str] = set()
    for name in os.listdir(store.ingest):
        path = f"{store.ingest}/{name}"
        if name.endswith(_PROTECTION) and locks.is_held(path, gone=True):
            try:
                with open(path, encoding="ascii") as file:
                    digests.update(file.read().split())
            except FileNotFoundError:
                continue  # that pull has just ended, and what it needed is named in the index
    return digests
