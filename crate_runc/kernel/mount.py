"""mount(2), the file-descriptor mount interface (open_tree(2), move_mount(2), mount_setattr(2), fsopen(2)) and pivot_root(2).

Targets and sources are descriptors wherever a path could lead through a container's tree; nothing here resolves such a path. Where the kernel
or a filter lacks the descriptor interface, mount_by_path does the same work after `begin`.
"""

from __future__ import annotations

import errno
import os
import struct

from crate_runc.kernel.libc import AT_EMPTY_PATH, AT_FDCWD, AT_RECURSIVE, address_of, syscall

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_REMOUNT, MS_MANDLOCK, MS_DIRSYNC = 1, 2, 4, 8, 16, 32, 64, 128
MS_NOSYMFOLLOW, MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_MOVE, MS_REC, MS_SILENT = 256, 1024, 2048, 4096, 8192, 16384, 32768
MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED, MS_RELATIME = 1 << 17, 1 << 18, 1 << 19, 1 << 20, 1 << 21
MS_I_VERSION, MS_STRICTATIME, MS_LAZYTIME = 1 << 23, 1 << 24, 1 << 25
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
ATTR_ATIME_MASK, ATTR_RELATIME, ATTR_NOATIME, ATTR_STRICTATIME = 0x70, 0, 0x10, 0x20
ATTR_NODIRATIME, ATTR_IDMAP, ATTR_NOSYMFOLLOW = 0x80, 0x100000, 0x200000

_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_FROM_FD, _MOVE_TO_FD = 4, 0x40
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _SET_FLAG, _SET_STRING, _CREATE = 1, 1, 0, 1, 6


TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.mount_by_path import Stage

_PROBES = (
    ("open_tree", -1, b"", -1),
    ("move_mount", -1, b"", -1, b"", -1),
    ("fsopen", None, -1),
    ("mount_setattr", -1, b"", -1, b"", 0),
)
"""Calls that make no sense: EINVAL or EBADF from a kernel that has them, ENOSYS from others, EPERM from filters that do not know them."""
_stage: Stage | None = None


def is_complete() -> bool:
    """Whether this process may use the descriptor interface, all of it."""
    for name, *arguments in _PROBES:
        try:
            syscall(str(name), *arguments)
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EPERM):
                return False
    return True


def begin(stage: str) -> None:
    """In a mount namespace of one's own: whatever is missing of the descriptor interface is done by path from here on. `stage` is the
    directory of the host that the container's root will cover."""
    global _stage
    if not is_complete():
        from crate_runc.kernel import mount_by_path

        _stage = mount_by_path.Stage(stage)


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    syscall("mount", _text(source), _text(target), _text(kind), flags, _text(options), path=target)


def mount_on(fd: int, source: str | None, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    """mount(2) on what `fd` is open on, whatever names lead there now. Needs the host's own procfs at /proc."""
    mount(source, f"/proc/self/fd/{fd}", kind, flags, options)


def clone_tree(fd: int, path: str = "", *, recursive: bool = False, follow: bool = True) -> int:
    """A detached copy of the mounts at `path` below `fd` (of `fd` itself when empty), as a descriptor the caller closes."""
    if _stage is not None:
        return _stage.clone_tree(fd, path, recursive=recursive, follow=follow)
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    flags |= (0 if follow else 0x100) if path else AT_EMPTY_PATH
    return syscall("open_tree", fd, _text(path), flags, path=path)


def attach(tree: int, target: int) -> None:
    """Mount the detached `tree` on the open directory or file `target`; `tree` stays open, on the mount now in place."""
    if _stage is not None:
        from crate_runc.kernel import mount_by_path

        mount_by_path.attach(tree, target)
        return
    syscall("move_mount", tree, b"", target, b"", _MOVE_FROM_FD | _MOVE_TO_FD)


def set_attributes(fd: int, *, add: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False) -> None:
    if _stage is not None:
        from crate_runc.kernel import mount_by_path

        mount_by_path.set_attributes(fd, add=add, clear=clear, propagation=propagation, recursive=recursive)
        return
    attributes = struct.pack("=4Q", add, clear, propagation, 0)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", fd, b"", flags, attributes, len(attributes))


def new_filesystem(kind: str, options: dict[str, str], attributes: int, *, source: str | None = None) -> int:
    """A detached mount of a new filesystem, as a descriptor the caller closes. `source` names it in mountinfo."""
    if _stage is not None:
        return _stage.new_filesystem(kind, options, attributes, source or kind)
    context = syscall("fsopen", _text(kind), _FSOPEN_CLOEXEC, path=kind)
    try:
        for key, value in (options if source is None else {"source": source, **options}).items():
            syscall("fsconfig", context, _SET_STRING, _text(key), _text(value), 0, path=kind)
        syscall("fsconfig", context, _CREATE, None, None, 0, path=kind)
        return syscall("fsmount", context, _FSMOUNT_CLOEXEC, attributes, path=kind)
    finally:
        os.close(context)


PROC_MAGIC, SYSFS_MAGIC = 0x9FA0, 0x62656572


def magic(fd: int) -> int:
    """What kind of file system `fd` is on: the first word of struct statfs, statfs(2)."""
    status = bytearray(120)
    syscall("fstatfs", fd, address_of(status))
    return int.from_bytes(status[:8], "little")


def unmount(path: str, flags: int = MNT_DETACH) -> None:
    syscall("umount2", _text(path), flags, path=path)


def pivot_here() -> None:
    """Make the working directory, a mount point, the root; the old root is then stacked on the same directory."""
    syscall("pivot_root", b".", b".")


def open_tree_at(path: str, *, recursive: bool = False) -> int:
    """As clone_tree, of a path of the host."""
    return clone_tree(AT_FDCWD, path, recursive=recursive)


def _text(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)
