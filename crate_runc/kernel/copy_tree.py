"""Copy a tree of files between two open directories, as runc's tmpcopyup does from an image into a new tmpfs.

Descriptors only, links are copied and not followed; device nodes and sockets are left out.
"""

from __future__ import annotations

import os
import stat


def copy_tree(source: int, target: int) -> None:
    """Both are open directories and stay open."""
    for name in os.listdir(source):
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            below, copy = (
                os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd) for fd in (source, target)
            )
            copy_tree(below, copy)
            _copy_attributes(status, copy)
            os.close(below)
            os.close(copy)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(source, target, name, status)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str, status: os.stat_result) -> None:
    read = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    write = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=target)
    while part := os.read(read, 1 << 16):
        os.write(write, part)
    _copy_attributes(status, write)
    os.close(read)
    os.close(write)


def _copy_attributes(status: os.stat_result, fd: int) -> None:
    os.fchown(fd, status.st_uid, status.st_gid)
    os.fchmod(fd, stat.S_IMODE(status.st_mode))
    os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
