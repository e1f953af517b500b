"""What of an entry's owner, mode, extended attributes and times a file or directory is given (chown(2), capabilities(7), xattr(7)).

By descriptor only. Of attributes an allow-list is kept; what overlayfs, a security module or another engine would read as an order is dropped.
"""

from __future__ import annotations

import os
import stat
import struct
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from crate_engine.layers.directories import Directory

    class Owned(Protocol):
        """Entries of archives, and directories that wait for theirs. Times are nanoseconds since 1970."""

        @property
        def mode(self) -> int: ...
        @property
        def uid(self) -> int: ...
        @property
        def gid(self) -> int: ...
        @property
        def mtime_ns(self) -> int: ...
        @property
        def xattrs(self) -> dict[str, bytes]: ...


OWNER_XATTR = "user.containers.override_stat"
"""Where only one id is mapped, the owner and mode of a file or directory are kept here as `uid:gid:mode`, as fuse-overlayfs reads it."""

_DEFAULT_ACL = "system.posix_acl_default"
_CAPABILITY = "security.capability"
_REVISIONS = ((0x02000000, 20), (0x03000000, 24))


class Ownership:
    """How owners are kept below one root: `single` writes them down, else they are set. `root` is an fd of an empty directory."""

    def __init__(self, root: int, *, single: bool) -> None:
        self._single = single
        self._given = _owner_of_new_files(root)

    def set(self, fd: int, wanted: Owned, made_with: int) -> None:
        """Owner, mode, attributes, times, in the order in which the kernel keeps them: chown(2) takes set-id bits and capabilities away.

        `made_with` is the mode that the file was created with: what is right already costs no call.
        """
        if self._single:
            self._write_down(fd, wanted)
        elif (wanted.uid, wanted.gid) != self._given:
            os.fchown(fd, wanted.uid, wanted.gid)
        if wanted.mode != made_with:
            os.fchmod(fd, wanted.mode)
        if wanted.xattrs:
            _set_xattrs(fd, wanted.xattrs)
        os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))

    def set_directory(self, fd: int, wanted: Directory, *, cleared: bool) -> None:
        """Whatever it has by now. `cleared`: earlier entries of this path may have left attributes on it."""
        if cleared or self._single:
            _remove_xattrs(fd)
        status = os.fstat(fd)
        if self._single:
            self._write_down(fd, wanted)
        elif (wanted.uid, wanted.gid) != (status.st_uid, status.st_gid):
            os.fchown(fd, wanted.uid, wanted.gid)
        if wanted.mode != stat.S_IMODE(status.st_mode):
            os.fchmod(fd, wanted.mode)
        _set_xattrs(fd, wanted.xattrs)
        if not wanted.implied:
            os.utime(fd, ns=(wanted.mtime_ns, wanted.mtime_ns))

    @staticmethod
    def _write_down(fd: int, wanted: Owned) -> None:
        if wanted.uid or wanted.gid:
            _set_xattr(fd, OWNER_XATTR, f"{wanted.uid}:{wanted.gid}:0{wanted.mode:o}".encode())

    def set_name(self, parent: int, name: bytes, wanted: Owned) -> None:
        """Of a link, a device or a fifo, which has no descriptor; attributes of users cannot be on these (xattr(7))."""
        if not self._single and (wanted.uid, wanted.gid) != self._given:
            os.chown(name, wanted.uid, wanted.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(wanted.mtime_ns, wanted.mtime_ns), dir_fd=parent, follow_symlinks=False)


def set_node_mode(parent: int, name: bytes, mode: int) -> None:
    """chmod(2) of a device or fifo, whose set-id bits chown(2) has taken. fchmod(2) refuses an O_PATH descriptor, its name in proc does not."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _owner_of_new_files(root: int) -> tuple[int, int] | None:
    """Whom a file below `root` belongs to when it is made; None where directories decide that, as with a set-group-id bit."""
    with suppress(OSError):
        os.removexattr(
            root, _DEFAULT_ACL
        )  # inherited from the store's own directory, it would change the modes that open(2) is told
    status = os.fstat(root)
    ours = os.geteuid(), os.getegid()
    return ours if (status.st_uid, status.st_gid) == ours and not status.st_mode & stat.S_ISGID else None


def _allowed(key: str, value: bytes) -> bytes | None:
    """The value to set, or None: kept are file capabilities and users' own attributes, but none that overlayfs or an engine reads as orders."""
    if key == _CAPABILITY:
        return _capability(value)
    if key.startswith("user.") and not key.startswith(("user.overlay.", "user.containers.", "user.crate.")) and "\0" not in key:
        return value
    return None


def _capability(value: bytes) -> bytes | None:
    """capabilities(7), *File capability extended attribute versioning*: always version 2, which the kernel binds to the namespace at hand."""
    if len(value) not in (20, 24):
        return None
    magic: int = struct.unpack_from("<I", value)[0]
    if (magic & 0xFF000000, len(value)) not in _REVISIONS:
        return None
    return struct.pack("<I", 0x02000000 | magic & 1) + value[4:20]


def _remove_xattrs(fd: int) -> None:
    """All but overlayfs's own."""
    with suppress(OSError):  # a file system without attributes has none to remove
        for key in os.listxattr(fd):
            if key.startswith("user.") and ".overlay." not in key:
                os.removexattr(fd, key)


def _set_xattrs(fd: int, xattrs: dict[str, bytes]) -> None:
    for key, value in xattrs.items():
        allowed = _allowed(key, value)
        if allowed is not None:
            _set_xattr(fd, key, allowed)


def _set_xattr(fd: int, key: str, value: bytes) -> None:
    # A file system without attributes, or one that has no room for this one, does not make an image unusable.
    with suppress(OSError):
        os.setxattr(fd, key, value)
