"""Idmapped mounts: mount_setattr(2) with MOUNT_ATTR_IDMAP, and a user namespace that exists only as the holder of a mapping."""

from __future__ import annotations

import os
import struct

from crate_runc.kernel import namespaces, signals
from crate_runc.kernel.libc import AT_EMPTY_PATH, AT_RECURSIVE, syscall
from crate_runc.kernel.mount import ATTR_IDMAP

_PR_SET_PDEATHSIG = 1


def user_namespace(users: str, groups: str) -> int:
    """A descriptor, which the caller closes, of a new user namespace with these maps (lines as in /proc/PID/uid_map). Raises OSError."""
    pid = _start_holder(namespaces.NEWUSER)
    try:
        _write(f"/proc/{pid}/gid_map", groups)
        _write(f"/proc/{pid}/uid_map", users)
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _end(pid)


def lesser_mount_namespace() -> int:
    """A descriptor, which the caller closes, of a copy of our mount namespace that belongs to a new user namespace: in it the kernel has locked
    the restrictions of all mounts, and what is mounted on what (mount_namespaces(7)). Raises OSError."""
    pid = _start_holder(namespaces.NEWUSER | namespaces.NEWNS)
    try:
        return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        _end(pid)


def _start_holder(flags: int) -> int:
    pid = namespaces.fork(flags)
    if pid == 0:
        try:
            syscall("prctl", _PR_SET_PDEATHSIG, signals.SIGKILL, 0, 0, 0)
            while True:
                signals.pause()
        finally:
            os._exit(1)
    return pid


def _end(pid: int) -> None:
    os.kill(pid, signals.SIGKILL)
    os.waitpid(pid, 0)


def apply(tree: int, namespace: int, *, recursive: bool) -> None:
    """`tree` must be a detached clone that no one has seen yet."""
    attributes = struct.pack("=4Q", ATTR_IDMAP, 0, 0, namespace)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", tree, b"", flags, attributes, len(attributes))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
