"""mount(2), umount2(2) and overlayfs, as the monitor needs them in its private mount namespace. Paths are the engine's own, never a container's."""

from __future__ import annotations

import errno
import os

from crate_engine.system.libc import AT_FDCWD, SYS_FSCONFIG, SYS_FSMOUNT, SYS_FSOPEN, SYS_MOVE_MOUNT, call, syscall

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC = 1, 2, 4, 8, 32, 4096, 16384
MS_PRIVATE, MS_SLAVE = 1 << 18, 1 << 19
MNT_DETACH = 2
_FSOPEN_CLOEXEC, _FSMOUNT_CLOEXEC, _MOVE_MOUNT_F_EMPTY_PATH = 1, 1, 4
_SET_FLAG, _SET_STRING, _CREATE = 0, 1, 6
_PAGE = 4096


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    """mount(2). Raises OSError with the target as its file name."""
    call("mount", source, target, kind, flags, options, path=target)


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    mount(source, target, None, MS_BIND | (MS_REC if recursive else 0))


def umount(target: str, *, lazily: bool = True) -> None:
    """Lazily, as what still uses the mount (a process that is ending) must not keep its holder."""
    call("umount2", target, MNT_DETACH if lazily else 0, path=target)


def make_private() -> None:
    """Cut the calling process's mount namespace off from its parent's: mounts made here stay here, host mounts still arrive."""
    mount(None, "/", None, MS_REC | MS_SLAVE)


def overlay(lower: list[str], upper: str | None, work: str | None, target: str, *, user_xattr: bool) -> None:
    """Mount an overlay; `lower` is in image order, lowest layer first. `user_xattr`: inside a user namespace (Linux 5.11).

    Without `upper` and `work` it is read-only, and its programs change no ids (`nosuid`); then `lower` needs two layers.
    Device nodes in it open nothing (`nodev`): an image may bring some, and the host's disks are no part of an image; /dev is a mount of its own.
    The options of mount(2) are one page; longer stacks go through fsconfig(2) with one `lowerdir+` a layer (Linux 6.5).
    """
    topmost_first = lower[::-1]
    options = f"lowerdir={':'.join(_escape(path, ':') for path in topmost_first)}"
    if upper and work:
        options += f",upperdir={_escape(upper)},workdir={_escape(work)}"
    if user_xattr:
        options += ",userxattr"
    flags = MS_NODEV if upper else MS_NODEV | MS_NOSUID | MS_RDONLY  # the attributes of fsmount(2) have the same numbers
    if len(os.fsencode(options)) < _PAGE:
        mount("overlay", target, "overlay", flags, options)
        return
    context = syscall(SYS_FSOPEN, "overlay", _FSOPEN_CLOEXEC)
    try:
        for path in topmost_first:
            _configure(context, _SET_STRING, "lowerdir+", path)
        if upper and work:
            _configure(context, _SET_STRING, "upperdir", upper)
            _configure(context, _SET_STRING, "workdir", work)
        if user_xattr:
            _configure(context, _SET_FLAG, "userxattr", None)
        else:
            _configure(context, _SET_STRING, "redirect_dir", "off")
            _configure(context, _SET_STRING, "metacopy", "off")
        _configure(context, _CREATE, None, None)
        detached = syscall(SYS_FSMOUNT, context, _FSMOUNT_CLOEXEC, flags)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise OSError(errno.EINVAL, f"{len(lower)} layers need a kernel of 6.5 or later", target) from error
        raise
    finally:
        os.close(context)
    try:
        syscall(SYS_MOVE_MOUNT, detached, "", AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH, path=target)
    finally:
        os.close(detached)


def _configure(context: int, command: int, key: str | None, value: str | None) -> None:
    syscall(SYS_FSCONFIG, context, command, key, value, 0, path=value)


def _escape(path: str, separators: str = "") -> str:
    """Overlayfs splits its options at commas and lower directories at colons; a backslash keeps one in a name."""
    for character in "\\," + separators:
        path = path.replace(character, "\\" + character)
    return path
