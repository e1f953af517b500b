"""The last resort for a container's root: the image's layers copied over each other into one tree, whiteouts applied (overlayfs's own forms).

Runs where owners may be set. Reads trees that our own unpacking made, through directory fds; nothing follows a link. Hard links of a layer
stay links, as long as the layer is copied; holes stay holes.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from crate_engine.store import durable
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_layers(layers: list[str], target: str) -> None:
    """`layers` are lowest first; `target` is an empty directory, which gets the attributes of the topmost root. Raises OSError."""
    for layer in layers:
        source = os.open(layer, _DIRECTORY)
        goal = os.open(target, _DIRECTORY)
        try:
            _Layer(goal).copy(source, goal, b"")
        finally:
            os.close(source)
            os.close(goal)


class _Layer:
    """One layer's way into the tree at the fd `root`."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._linked: dict[tuple[int, int], bytes] = {}
        """Where the first name of each file with several is by now; by device and inode of the layer."""

    def copy(self, source: int, target: int, path: bytes) -> None:
        """The content and then the attributes of an open directory into another, which is at `path`."""
        for entry in os.listdir(source):
            name = os.fsencode(entry)
            status = os.stat(name, dir_fd=source, follow_symlinks=False)
            below = path + b"/" + name if path else name
            if stat.S_ISDIR(status.st_mode):
                self._copy_directory(source, target, name, below)
                continue
            durable.remove_at(target, name, shown=entry)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                continue  # a whiteout: what a lower layer had is gone now
            if status.st_nlink > 1 and self._link(target, name, below, status):
                continue
            _copy_entry(source, target, name, status)
        copy_attributes(source, target)

    def _copy_directory(self, source: int, target: int, name: bytes, path: bytes) -> None:
        below = os.open(name, _DIRECTORY, dir_fd=source)
        try:
            try:
                known = stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode)
            except FileNotFoundError:
                known = False
            if not known or is_opaque(below):
                durable.remove_at(target, name, shown=os.fsdecode(path))
                os.mkdir(name, 0o700, dir_fd=target)
            goal = os.open(name, _DIRECTORY, dir_fd=target)
            try:
                self.copy(below, goal, path)
            finally:
                os.close(goal)
        finally:
            os.close(below)

    def _link(self, target: int, name: bytes, path: bytes, status: os.stat_result) -> bool:
        """Link the file to what was copied of it before; False: it is the first of its names, and to be copied."""
        key = status.st_dev, status.st_ino
        first = self._linked.setdefault(key, path)
        if first == path:
            return False
        directory, _, base = first.rpartition(b"/")
        how = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        parent = openat2(self._root, directory or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, how)
        try:
            os.link(base, name, src_dir_fd=parent, dst_dir_fd=target, follow_symlinks=False)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            self._linked[key] = path
            return False
        finally:
            os.close(parent)
        return True


def _copy_entry(source: int, target: int, name: bytes, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=target, follow_symlinks=False)
        return
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        _copy_content(reading, writing, status.st_size)
        copy_attributes(reading, writing)
    finally:
        os.close(reading)
        os.close(writing)


def _copy_content(reading: int, writing: int, size: int) -> None:
    at = 0
    while at < size:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # only a hole is left
        end = os.lseek(reading, at, os.SEEK_HOLE)
        os.lseek(reading, at, os.SEEK_SET)
        os.lseek(writing, at, os.SEEK_SET)
        while at < end and (copied := os.copy_file_range(reading, writing, min(_CHUNK, end - at))):
            at += copied
        if at < end:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
    os.ftruncate(writing, size)


def copy_attributes(source: int, target: int) -> None:
    """Of an open file or directory to another. Owner before mode, as changing it drops set-id bits; times last. Overlayfs's own attributes stay behind."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    with suppress(OSError):  # a file system without attributes
        for name in os.listxattr(source):
            if ".overlay." not in name:
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def is_opaque(directory: int) -> bool:
    try:
        return any(name in _OPAQUE for name in os.listxattr(directory))
    except OSError:
        return False  # a file system without attributes
