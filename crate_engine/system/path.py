"""openat2(2), Linux 5.6: path resolution that the kernel keeps below a directory. No fallback: a walk in user space is not the same."""

from __future__ import annotations

import ctypes
import os
import struct

from crate_engine.system.libc import SYS_OPENAT2

RESOLVE_NO_XDEV, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 1, 2, 4, 8, 16
_EAGAIN = 11
_ATTEMPTS = 128  # the kernel gives EAGAIN when a rename elsewhere made ".." ambiguous

# A prototype of its own: this is called once for every entry of a layer.
_openat2 = ctypes.CDLL(None, use_errno=True).syscall
_openat2.restype = ctypes.c_long
_openat2.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long)


def openat2(directory: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open `path` relative to the directory fd; the caller closes the new fd. Raises OSError with the path in it."""
    how = struct.pack("QQQ", flags, mode, resolve)
    for _ in range(_ATTEMPTS):
        fd: int = _openat2(SYS_OPENAT2, directory, path, how, len(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code != _EAGAIN:
            break
    raise OSError(code, os.strerror(code), os.fsdecode(path))
