"""Layers compared with what their blobs unpack to: each is unpacked a second time, beside it, and removed again.

The comparison runs inside the user namespace. It takes as long, and as much room, as unpacking one layer after the other.
"""

from __future__ import annotations

import os
import stat

from crate_engine.errors import CrateError
from crate_engine.layers.store import LayerStore, empty_trash
from crate_engine.layers.worker import Worker
from crate_engine.oci.digest import Digest
from crate_engine.store import durable, leases
from crate_engine.store.blobs import BlobStore
from crate_engine.system import userns
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace

_CHUNK = 1 << 20


def different(store: Store, user_namespace: UserNamespace, sources: Mapping[str, Descriptor]) -> Iterator[tuple[str, str]]:
    """(hexadecimal diff id, what differs) for every layer here that is not as its blob has it."""
    layers = LayerStore(store, user_namespace)
    for name, blob in sources.items():
        diff_id = Digest("sha256", name)
        with leases.claim(store, layers.work(diff_id)):
            path = layers.path(diff_id)
            if path is None:
                continue
            again = layers.ingest_directory(diff_id)
            try:
                _unpack(store, user_namespace, blob, diff_id, again)
                problem = str(userns.run(user_namespace, difference, f"{path}/fs", f"{again}/fs"))
            except CrateError as error:
                problem = f"it cannot be unpacked a second time: {error}"
            finally:
                if os.path.lexists(again):
                    durable.move_to_trash(again, store.trash)
        empty_trash(store, user_namespace)
        if problem:
            yield name, problem


def _unpack(store: Store, user_namespace: UserNamespace, blob: Descriptor, diff_id: Digest, directory: str) -> None:
    worker = Worker(user_namespace, store.trash)
    try:
        fd = BlobStore(store).open(blob.digest)
        try:
            worker.start(fd, directory, diff_id)
        finally:
            os.close(fd)
        worker.end(blob.size)
        worker.result()
    finally:
        worker.close()


def difference(here: str, wanted: str) -> str:
    """The first difference between two trees, or an empty text. For a process that may read both. Never follows a link."""
    roots = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC) for path in (here, wanted)]
    pending = [b"."]
    try:
        while pending:
            path = pending.pop()
            found = _directory(roots[0], roots[1], path, pending)
            if found:
                return found
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    finally:
        for root in roots:
            os.close(root)
    return ""


def _directory(here: int, wanted: int, path: bytes, pending: list[bytes]) -> str:
    """One directory of both trees; those in it are added to `pending`."""
    how = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
    fds: list[int] = []
    try:
        for root in (here, wanted):
            fds.append(openat2(root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, how))
        names, expected = (set(map(os.fsencode, os.listdir(fd))) for fd in fds)
        shown = os.fsdecode(path)[1:]
        if names != expected:
            name = min(names ^ expected)
            return f"{shown}/{os.fsdecode(name)} is {'missing' if name in expected else 'not of the layer'}"
        for name in sorted(names):
            found = _entries(fds[0], fds[1], os.fsdecode(name))
            if found:
                return f"{shown}/{os.fsdecode(name)}: {found}"
            if stat.S_ISDIR(os.stat(name, dir_fd=fds[0], follow_symlinks=False).st_mode):
                pending.append(path + b"/" + name)
    finally:
        for fd in fds:
            os.close(fd)
    return ""


def _entries(here: int, wanted: int, name: str) -> str:
    """What one entry has otherwise, but for what is below a directory."""
    ours, theirs = (os.stat(name, dir_fd=directory, follow_symlinks=False) for directory in (here, wanted))
    if ours.st_mode != theirs.st_mode:
        return f"its mode is {ours.st_mode:o}, not {theirs.st_mode:o}"
    if (ours.st_uid, ours.st_gid) != (theirs.st_uid, theirs.st_gid):
        return f"its owner is {ours.st_uid}:{ours.st_gid}, not {theirs.st_uid}:{theirs.st_gid}"
    # A directory that the archive only implies has the time of its unpacking.
    if ours.st_mtime_ns != theirs.st_mtime_ns and not stat.S_ISDIR(ours.st_mode):
        return "its time is another"
    if ours.st_rdev != theirs.st_rdev:
        return "it is another device"
    if stat.S_ISLNK(ours.st_mode) and os.readlink(name, dir_fd=here) != os.readlink(name, dir_fd=wanted):
        return "it leads to another place"
    if stat.S_ISREG(ours.st_mode) and (ours.st_size != theirs.st_size or not _same_content(here, wanted, name)):
        return "its content was changed on disk"
    if _attributes(here, name) != _attributes(wanted, name):
        return "its extended attributes are others"
    return ""


def _same_content(here: int, wanted: int, name: str) -> bool:
    how = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with open(os.open(name, how, dir_fd=here), "rb") as ours, open(os.open(name, how, dir_fd=wanted), "rb") as theirs:
        while chunk := ours.read(_CHUNK):
            if chunk != theirs.read(_CHUNK):
                return False
        return not theirs.read(1)


def _attributes(directory: int, name: str) -> dict[str, bytes]:
    path = f"/proc/self/fd/{directory}/{name}"
    return {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
