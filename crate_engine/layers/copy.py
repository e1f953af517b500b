"""The last resort for a container's root: the image's layers copied over each other into one tree, whiteouts applied (overlayfs's own forms).

Runs where owners may be set. Reads trees that our own unpacking made, through directory fds; nothing follows a link.
"""

from __future__ import annotations

import os
import stat

from crate_engine.store import durable

_OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
_CHUNK = 1 << 20


def copy_layers(layers: list[str], target: str) -> None:
    """`layers` are lowest first; `target` is an empty directory, which gets the attributes of the topmost root. Raises OSError."""
    for layer in layers:
        source = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        goal = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            _copy_directory(source, goal)
        finally:
            os.close(source)
            os.close(goal)


def _copy_directory(source: int, target: int) -> None:
    """The content and then the attributes of an open directory into another."""
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_subdirectory(source, target, name)
            continue
        durable.remove_at(target, name, shown=name)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            continue  # a whiteout: what a lower layer had is gone now
        _copy_entry(source, target, name, status)
    _copy_attributes(source, target)


def _copy_subdirectory(source: int, target: int, name: str) -> None:
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    try:
        try:
            known = stat.S_ISDIR(os.stat(name, dir_fd=target, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            known = False
        if not known or _is_opaque(below):
            durable.remove_at(target, name, shown=name)
            os.mkdir(name, 0o700, dir_fd=target)
        goal = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=target)
        try:
            _copy_directory(below, goal)
        finally:
            os.close(goal)
    finally:
        os.close(below)


def _copy_entry(source: int, target: int, name: str, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        return
    if not stat.S_ISREG(status.st_mode):
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        return
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
    try:
        while os.copy_file_range(reading, writing, _CHUNK):
            pass
        _copy_attributes(reading, writing)
    finally:
        os.close(reading)
        os.close(writing)


def _copy_attributes(source: int, target: int) -> None:
    """Owner before mode, as changing it drops set-id bits; times last. Overlayfs's own attributes stay behind."""
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source):
        if ".overlay." not in name:
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _is_opaque(directory: int) -> bool:
    return any(name in _OPAQUE for name in os.listxattr(directory))
