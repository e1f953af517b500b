"""`image mount`: an image's files as a read-only overlay of its layers, below the run root, until `image unmount` or the next boot.

A mount stays in the mount namespace in which it was made. An ordinary user can only mount in a user namespace of their own, so that for them
this works inside of `crate unshare`, as with podman; there a mount is gone with the last process of the namespace.
"""

from __future__ import annotations

import errno
import os

from crate_engine.errors import HostError, ImageError, StoreError
from crate_engine.layers.store import LayerStore
from crate_engine.oci.strict_json import dump, parse
from crate_engine.store import durable
from crate_engine.store.images import ImageStore
from crate_engine.store.locks import lock
from crate_engine.store.paths import make_directory
from crate_engine.system import mount as mounts
from crate_engine.system import process, userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store

_TREE, _LOWEST, _RECORD = "fs", "empty", "mounted.json"


def mount(store: Store, image: Image) -> str:
    """The absolute path of the tree; one that is mounted is not mounted again. Raises HostError, ImageNotFound, StoreError."""
    if os.geteuid() != 0:
        raise HostError(
            f"mount image {image.id[:12]}: an ordinary user mounts in a user namespace of their own only",
            hint="crate unshare opens a shell in one: run crate image mount there",
        )
    directory = f"{_parent(store)}/{image.id}"
    with lock(store, "image", shared=True):  # its layers are not removed before the record is there
        ImageStore(store).find(f"sha256:{image.id}")
        if _mounted(directory):
            return f"{directory}/{_TREE}"
        layers = LayerStore(store).directories(image)
        for path in (directory, f"{directory}/{_TREE}", f"{directory}/{_LOWEST}"):
            make_directory(path)
        record = {"boot_id": process.boot_id(), "namespace": _namespace("self")}
        durable.write(f"{directory}/{_RECORD}", dump(record))
        try:
            # an overlay needs two layers where it has no upper one
            lower = [f"{directory}/{_LOWEST}", *layers]
            mounts.overlay(lower, None, None, f"{directory}/{_TREE}", user_xattr=userns.inside())
        except OSError as error:
            _forget(directory)
            raise HostError(f"mount image {image.id[:12]}: {error.strerror}") from error
    return f"{directory}/{_TREE}"


def unmount(store: Store, image_id: str, *, force: bool = False) -> str:
    """Returns the id. `force`: also while files in it are open, and where it is not mounted. Raises ImageError, HostError."""
    directory = f"{_parent(store)}/{image_id}"
    if not _here(directory):
        if not force:
            elsewhere = " in this mount namespace" if _mounted(directory) else ""
            raise ImageError(
                f"unmount image {image_id[:12]}: it is not mounted{elsewhere}", hint="crate image mount lists what is"
            )
        if not _mounted(directory):
            _forget(directory)
        return image_id
    try:
        mounts.umount(f"{directory}/{_TREE}", lazily=force)
    except OSError as error:
        hint = (
            "something in it is open, or the working directory of a process; --force detaches it"
            if error.errno == errno.EBUSY
            else None
        )
        raise HostError(f"unmount image {image_id[:12]}: {(error.strerror or '').lower()}", hint=hint) from error
    _forget(directory)
    return image_id


def all(store: Store) -> dict[str, str]:
    """From ids of mounted images to their trees, whichever mount namespace these are in."""
    try:
        names = os.listdir(f"{store.runroot}/images")
    except FileNotFoundError:
        return {}
    return {
        name: f"{store.runroot}/images/{name}/{_TREE}" for name in sorted(names) if _mounted(f"{store.runroot}/images/{name}")
    }


def _parent(store: Store) -> str:
    path = f"{store.runroot}/images"
    make_directory(path)
    return path


def _mounted(directory: str) -> bool:
    """Here, or in the mount namespace of another process: a mount in there needs its layers as well."""
    if _here(directory):
        return True
    try:
        with open(f"{directory}/{_RECORD}", "rb") as file:
            record = parse(file.read(), f"{directory}/{_RECORD}")
    except (FileNotFoundError, NotADirectoryError):
        return False
    namespace = record.get("namespace")
    if record.get("boot_id") != process.boot_id() or namespace == _namespace("self"):
        return False
    return any(_namespace(name) == namespace for name in os.listdir("/proc") if name.isdigit())


def _here(directory: str) -> bool:
    try:
        return os.lstat(f"{directory}/{_TREE}").st_dev != os.lstat(directory).st_dev
    except FileNotFoundError:
        return False


def _namespace(pid: str) -> int:
    """The inode number of its mount namespace; 0 where that is not for this process to know."""
    try:
        return os.stat(f"/proc/{pid}/ns/mnt").st_ino
    except OSError:
        return 0


def _forget(directory: str) -> None:
    try:
        os.unlink(f"{directory}/{_RECORD}")
        for path in (f"{directory}/{_TREE}", f"{directory}/{_LOWEST}", directory):
            os.rmdir(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreError(f"remove {directory}: {error.strerror}") from error
