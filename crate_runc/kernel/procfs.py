"""Files of procfs that are written to, reached so that nobody can have put another file in their place (proc(5), openat2(2), CVE-2025-52881).

A fresh instance of procfs that is mounted nowhere has no mounts on it. Where the caller may not make one, the procfs at /proc serves, after it
was found to be one; on either the way to a file crosses no mount and follows no magic link, so that a bind mount over the file is an error.
"""

from __future__ import annotations

import errno
import os
import struct

from crate_runc.kernel import mount
from crate_runc.kernel.libc import AT_EMPTY_PATH, address_of, syscall

_SUPER_MAGIC, _ROOT_INODE = 0x9FA0, 1
_RESOLVE_NO_XDEV, _RESOLVE_NO_MAGICLINKS, _RESOLVE_BENEATH = 1, 2, 8
_STATX_MNT_ID, _MNT_ID_OFFSET = 0x1000, 144
RESOLVE = _RESOLVE_NO_XDEV | _RESOLVE_NO_MAGICLINKS | _RESOLVE_BENEATH
"""openat2's way to a file of a procfs."""
_ATTRIBUTES = mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC
_REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL)


def open_root(*, whole: bool = False) -> int:
    """The root directory of a procfs, which the caller closes; with `whole` also what is not of processes (/proc/sys). Raises OSError."""
    try:
        return mount.new_filesystem("proc", {} if whole else {"subset": "pid"}, _ATTRIBUTES)
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
    return open_mounted("/proc")


def open_mounted(path: str) -> int:
    """The procfs that is mounted at `path`. Raises OSError (EINVAL) where that is something else, or a part of one."""
    root = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if _kind(root) != _SUPER_MAGIC or os.fstat(root).st_ino != _ROOT_INODE:
        os.close(root)
        raise OSError(errno.EINVAL, "not a procfs", path)
    return root


def write(root: int, path: str, text: bytes) -> None:
    """In one write(2), which is what the files of procfs take. Raises OSError; EXDEV where a mount is in the way."""
    fd = open_file(root, path, os.O_WRONLY)
    try:
        os.write(fd, text)
    finally:
        os.close(fd)


def open_file(root: int, path: str, flags: int) -> int:
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, 0, RESOLVE)
    try:
        return syscall("openat2", root, os.fsencode(path), how, len(how), path=path)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
        if error.errno == errno.EPERM and not _is_filtered(root):
            raise
    return _walk(root, path, flags)


def _is_filtered(root: int) -> bool:
    """Whether it is openat2 that may not be called, and not the file that may not be opened."""
    how = struct.pack("=3Q", os.O_PATH | os.O_CLOEXEC, 0, 0)
    try:
        os.close(syscall("openat2", root, b".", how, len(how)))
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _walk(root: int, path: str, flags: int) -> int:
    """One name at a time, for a kernel or a filter without openat2: no link but procfs's own `self` and `thread-self`, and one mount all along."""
    own = _mount_id(root)
    first, _, rest = path.partition("/")
    if first in ("self", "thread-self"):
        path = f"{os.readlink(first, dir_fd=root)}/{rest}"
    names = path.split("/")
    here = os.dup(root)
    try:
        for index, name in enumerate(names):
            last = index == len(names) - 1
            wanted = flags | os.O_NOFOLLOW if last else os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
            below = os.open(name, wanted | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
            if name in ("", ".", "..") or _mount_id(here) != own:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    except BaseException:
        os.close(here)
        raise
    return here


def _kind(fd: int) -> int:
    """struct statfs begins with the number of the file system's kind."""
    status = bytearray(128)
    syscall("fstatfs", fd, address_of(status))
    return int.from_bytes(status[:8], "little")


def _mount_id(fd: int) -> int:
    status = bytearray(256)
    syscall("statx", fd, b"", AT_EMPTY_PATH, _STATX_MNT_ID, address_of(status))
    return int.from_bytes(status[_MNT_ID_OFFSET : _MNT_ID_OFFSET + 8], "little")
