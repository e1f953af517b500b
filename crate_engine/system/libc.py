"""The C library through ctypes: one place where a failing call becomes an OSError. No policy, no path resolution."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long

# Since Linux 5.1 new system calls have one number on every architecture; execveat(2) is older.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_FSOPEN, SYS_FSCONFIG, SYS_FSMOUNT = 428, 429, 430, 431, 432
SYS_OPENAT2, SYS_MOUNT_SETATTR = 437, 442

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000


def call(name: str, *arguments: object, path: str | None = None) -> int:
    """Call the C function `name`; integers go as long, str as bytes. Raises OSError with `path` where the result is -1."""
    result: int = getattr(_LIBC, name)(*[_argument(value) for value in arguments])
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)
    return result


def syscall(number: int, *arguments: object, path: str | None = None) -> int:
    """The system call `number`, for what the C library has no function for."""
    return call("syscall", number, *arguments, path=path)


def _argument(value: object) -> object:
    if isinstance(value, int):
        return ctypes.c_long(value)
    if isinstance(value, str):
        return os.fsencode(value)
    return value
