"""What kernel/mount.py does with detached trees, by mount(2) alone: for kernels before 5.12, and filters that do not know the newer calls.

A tree that would be detached hangs in a *stage* instead, a private tmpfs over the directory that the container's root will cover: nobody can
name it, and it goes away with the old root. Descriptors are named /proc/self/fd/N, so that no path is resolved twice here either. Only for a
process with a mount namespace of its own, and before its root switch: it needs the host's procfs.
"""

from __future__ import annotations

import os
import stat

from crate_runc.kernel import mount

_MODE_OF_ATTRIBUTE = (
    (mount.ATTR_RDONLY, mount.MS_RDONLY),
    (mount.ATTR_NOSUID, mount.MS_NOSUID),
    (mount.ATTR_NODEV, mount.MS_NODEV),
    (mount.ATTR_NOEXEC, mount.MS_NOEXEC),
    (mount.ATTR_NODIRATIME, mount.MS_NODIRATIME),
    (mount.ATTR_NOSYMFOLLOW, mount.MS_NOSYMFOLLOW),
)
_ATIMES = {
    mount.ATTR_RELATIME: mount.MS_RELATIME,
    mount.ATTR_NOATIME: mount.MS_NOATIME,
    mount.ATTR_STRICTATIME: mount.MS_STRICTATIME,
}
_ATIME_FLAGS = mount.MS_RELATIME | mount.MS_NOATIME | mount.MS_STRICTATIME
_ST_RELATIME = 4096
_KEPT = (
    mount.MS_RDONLY | mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC | mount.MS_NOATIME | mount.MS_NODIRATIME
)  # the same bits as in struct statvfs
_ST_NOSYMFOLLOW = 0x2000


class Stage:
    """`path` is a directory of the host whose mount is not shared."""

    __slots__ = ("_count", "_directory", "_path")

    def __init__(self, path: str) -> None:
        self._path = path
        self._directory = -1
        self._count = 0

    def clone_tree(self, fd: int, path: str, *, recursive: bool, follow: bool) -> int:
        source = fd
        if path:
            flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
            source = os.open(path, flags, dir_fd=None if fd < 0 else fd)
        try:
            name = self._new_name(is_directory=stat.S_ISDIR(os.fstat(source).st_mode))
            mount.mount(_at(source), f"{_at(self._directory)}/{name}", None, mount.MS_BIND | (mount.MS_REC if recursive else 0))
        finally:
            if source != fd:
                os.close(source)
        return self._open(name)

    def new_filesystem(self, kind: str, options: dict[str, str], attributes: int, source: str) -> int:
        name = self._new_name(is_directory=True)
        flags = 0
        for attribute, flag in _MODE_OF_ATTRIBUTE:
            flags |= flag if attributes & attribute else 0
        text = ",".join(f"{key}={value}" for key, value in options.items())
        mount.mount(source, f"{_at(self._directory)}/{name}", kind, flags & ~mount.MS_RDONLY, text)
        fd = self._open(name)
        if flags & mount.MS_RDONLY:
            mount.mount(None, _at(fd), None, mount.MS_BIND | mount.MS_REMOUNT | flags)
        return fd

    def _new_name(self, *, is_directory: bool) -> str:
        if self._directory < 0:
            over = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            mount.mount("tmpfs", _at(over), "tmpfs", mount.MS_NOSUID | mount.MS_NOEXEC, "mode=0700")
            os.close(over)
            self._directory = os.open(self._path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            # or a recursive clone of what lies below it, such as the container's root, would take it along
            mount.mount(None, _at(self._directory), None, mount.MS_UNBINDABLE)
        self._count += 1
        name = str(self._count)
        if is_directory:
            os.mkdir(name, 0o700, dir_fd=self._directory)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=self._directory))
        return name

    def _open(self, name: str) -> int:
        return os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._directory)


def attach(tree: int, target: int) -> None:
    mount.mount(_at(tree), _at(target), None, mount.MS_MOVE)


def set_attributes(fd: int, *, add: int, clear: int, propagation: int, recursive: bool) -> None:
    if propagation:
        mount.mount(None, _at(fd), None, propagation | (mount.MS_REC if recursive else 0))
    if add or clear:
        for each in _mounts_below(fd) if recursive else [os.dup(fd)]:
            try:
                before = _flags_of(each)
                after = changed(before, add, clear)
                if after != before:
                    mount.mount(None, _at(each), None, mount.MS_BIND | mount.MS_REMOUNT | after)
            finally:
                os.close(each)


def changed(flags: int, add: int, clear: int) -> int:
    """The MS_ flags of a mount after ATTR_ ones were added and cleared. A remount replaces them all, mount_setattr(2) those it names."""
    for attribute, flag in _MODE_OF_ATTRIBUTE:
        if clear & attribute:
            flags &= ~flag
        if add & attribute:
            flags |= flag
    if clear & mount.ATTR_ATIME_MASK:
        flags = flags & ~_ATIME_FLAGS | _ATIMES[add & mount.ATTR_ATIME_MASK]
    return flags


def _flags_of(fd: int) -> int:
    found = os.fstatvfs(fd).f_flag
    flags = found & _KEPT
    if found & _ST_NOSYMFOLLOW:
        flags |= mount.MS_NOSYMFOLLOW
    if found & _ST_RELATIME:
        return flags | mount.MS_RELATIME
    return flags if found & mount.MS_NOATIME else flags | mount.MS_STRICTATIME


def _mounts_below(fd: int) -> list[int]:
    """Descriptors of the mount that `fd` is the root of and of all below it, each checked to be that very mount."""
    with open("/proc/self/mountinfo", "rb") as file:
        rows = [line.split()[:5] for line in file]
    points = {row[0]: (row[1], row[4]) for row in rows}
    top = _mount_id(fd)
    opened = {top: os.dup(fd)}
    waiting = [top]
    while waiting:
        parent = waiting.pop()
        for number, (above, point) in points.items():
            if above == parent and number not in opened:
                opened[number] = _open_below(opened[parent], points[parent][1], point, number)
                waiting.append(number)
    return list(opened.values())


def _open_below(parent: int, parent_point: bytes, point: bytes, number: bytes) -> int:
    here = os.dup(parent)
    for name in unescape(point[len(parent_point) :]).split(b"/"):
        if name:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
    if _mount_id(here) != number:
        os.close(here)
        raise OSError(16, "the mounts below change while they are being changed", os.fsdecode(point))
    return here


def unescape(text: bytes) -> bytes:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    first, *rest = text.split(b"\\")
    return first + b"".join(bytes([int(part[:3], 8)]) + part[3:] for part in rest)


def _mount_id(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))


def _at(fd: int) -> str:
    return f"/proc/self/fd/{fd}"
