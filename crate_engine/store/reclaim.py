"""What of the store nothing needs, and its removal: blobs and layers that no image, container or pull names.

The index is written first: a killed removal leaves only what nothing needs, and a mark by which the next pull finds that there is something to
collect. Everything here is called with the lock `image` held. Which images go is not decided here.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from crate_engine.errors import CrateError, ImageError, StoreError
from crate_engine.jsontext import loads
from crate_engine.oci.digest import Digest
from crate_engine.store import leases
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.store.images import ImageStore
    from crate_engine.store.paths import Store

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Unneeded:
    """`size` is in bytes: of the blobs as they are, of the layers as archives. `certain` is False where an image that cannot be read hides
    what it needs: then nothing counts as unneeded."""

    blobs: tuple[Digest, ...] = ()
    layers: tuple[Digest, ...] = ()
    size: int = 0
    certain: bool = True


def unneeded(images: ImageStore, store: Store, entries: Iterable[Descriptor]) -> Unneeded:
    """What nothing would need if these entries were the whole index."""
    from crate_engine.layers.store import LayerStore

    needed = leases.protected(store) | {f"sha256:{name}" for name in container_layers(store)}
    for entry in entries:
        try:
            needed |= images.needs(entry)
        except (ImageError, StoreError):
            return Unneeded(certain=False)
    layers = LayerStore(store)
    blobs = tuple(digest for digest in images.blobs.all() if str(digest) not in needed)
    gone = tuple(digest for digest in layers.all() if str(digest) not in needed)
    size = sum(images.blobs.size(digest) for digest in blobs) + sum(_layer_size(layers.size, digest) for digest in gone)
    return Unneeded(blobs, gone, size)


def collect(images: ImageStore, store: Store, entries: Iterable[Descriptor]) -> Unneeded:
    """Remove what nothing needs: blobs at once, layers into the trash."""
    gone = unneeded(images, store, entries)
    _remove(images, store, gone)
    return gone


def drop(images: ImageStore, store: Store, kept: tuple[Descriptor, ...]) -> Unneeded:
    """Make `kept` the whole index and remove what nothing needs then.

    Also where the disk is full: the layers go first then. They are made again from their blobs if the index cannot be written even so.
    """
    from crate_engine.layers.store import empty_trash

    with _announced(store):
        gone = unneeded(images, store, kept)
        try:
            images.write(kept)
        except StoreError as error:
            if not is_full(error) or not gone.layers:
                raise
            _discard(store, gone.layers)
            empty_trash(store)
            images.write(kept)
        _remove(images, store, gone)
    return gone


def container_layers(store: Store) -> set[str]:
    """The names of the layers that containers stand on, whatever became of their images: hexadecimal digests."""
    found: set[str] = set()
    for identity in os.listdir(store.containers):
        try:
            with open(f"{store.containers}/{identity}/container.json", encoding="utf-8") as file:
                snapshot = loads(file.read())["snapshot"]
            if snapshot["kind"] != "copy":
                found.update(path.split("/")[-2] for path in snapshot["lower"])
        except (OSError, ValueError, KeyError, TypeError, IndexError):
            continue  # unfinished, or damaged: what it stood on cannot be told, and it cannot be started
    return found


def is_full(error: BaseException) -> bool:
    """Whether an error means that there is no room on the disk, or in the quota."""
    cause = error if isinstance(error, OSError) else error.__cause__
    return isinstance(cause, OSError) and cause.errno in _FULL


def _remove(images: ImageStore, store: Store, gone: Unneeded) -> None:
    _discard(store, gone.layers)
    for digest in gone.blobs:
        images.blobs.remove(digest)
    if gone.certain:
        leases.sweep(store)  # what killed pulls had brought is gone


def _discard(store: Store, layers: Iterable[Digest]) -> None:
    from crate_engine.layers.store import LayerStore

    for digest in layers:
        LayerStore(store).discard(digest)


def _layer_size(size: Callable[[Digest], int], digest: Digest) -> int:
    try:
        return size(digest)
    except (CrateError, OSError):
        return 0  # its record is damaged


@contextmanager
def _announced(store: Store) -> Iterator[None]:
    """Leave the mark of a pull if this process is killed, so that the next one collects. On a disk without room for one, do without."""
    try:
        mark = leases.protect(store, ())
        mark.__enter__()
    except StoreError as error:
        if not is_full(error):
            raise
        yield
        return
    try:
        yield
    finally:
        mark.__exit__(None, None, None)
