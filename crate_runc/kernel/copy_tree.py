"""Copy a tree of files between two open directories, as runc's tmpcopyup does from an image into a new tmpfs.

Owners, modes, times and extended attributes go along; links are copied and not followed; nothing listens on a socket that is copied, so sockets
are left out. Descriptors only: nobody can redirect the copying (CVE-2022-23648).
"""

from __future__ import annotations

import errno
import os
import stat

_NODES = (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK)


def copy_tree(source: int, target: int, place: str = "") -> None:
    """Both are open directories and stay open; `place` is their name in errors. Raises OSError."""
    for name in os.listdir(source):
        try:
            _copy(source, target, name, f"{place}/{name}")
        except OSError as error:
            if error.filename and str(error.filename).startswith(f"{place}/{name}"):
                raise
            raise OSError(error.errno, error.strerror, f"{place}/{name}") from None


def copy_owner(source: int, target: int) -> None:
    status = os.fstat(source)
    os.fchown(target, status.st_uid, status.st_gid)


def _copy(source: int, target: int, name: str, place: str) -> None:
    status = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFDIR:
        _copy_directory(source, target, name, status, place)
    elif kind == stat.S_IFREG:
        _copy_file(source, target, name, status)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind in _NODES:
        os.mknod(name, kind, status.st_rdev, dir_fd=target)
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)


def _copy_directory(source: int, target: int, name: str, status: os.stat_result, place: str) -> None:
    os.mkdir(name, 0o700, dir_fd=target)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    below = os.open(name, flags, dir_fd=source)
    try:
        copy = os.open(name, flags, dir_fd=target)
        try:
            copy_tree(below, copy, place)
            _copy_attributes(status, below, copy)
        finally:
            os.close(copy)
    finally:
        os.close(below)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        write = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(write, read, None, 1 << 20):
                pass
            _copy_attributes(status, read, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _copy_attributes(status: os.stat_result, source: int, target: int) -> None:
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name in _listed(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (
                errno.ENOTSUP,
                errno.EPERM,
            ):  # not in a tmpfs before Linux 6.6; not the host's in a user namespace
                raise
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _listed(source: int) -> list[str]:
    try:
        return os.listxattr(source)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return []
