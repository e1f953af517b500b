"""Run a program on a kernel that seems to lack some system calls: `lacking.py ERRNO CALL,CALL PROGRAM ARGUMENT…`

A seccomp filter answers ERRNO to them, as an old kernel does with ENOSYS, and the old seccomp filters of container engines with EPERM. It costs
nothing, where strace(1) with `inject=` slows a start down by two orders of magnitude. All that the program starts inherits it.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

# name: (x86_64, aarch64)
NUMBERS = {
    "memfd_create": (319, 279),
    "execveat": (322, 281),
    "statx": (332, 291),
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "faccessat2": (439, 439),
    "mount_setattr": (442, 442),
}
_LOAD_NUMBER, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(errno: int, names: list[str]) -> None:
    """For this process and all that it starts. Without privileges, programs with a set-user-id bit run without theirs from here on."""
    column = 0 if os.uname().machine == "x86_64" else 1
    code = [struct.pack("HBBI", _LOAD_NUMBER, 0, 0, 0)]
    for index, name in enumerate(names):
        code.append(struct.pack("HBBI", _EQUAL, len(names) - index, 0, NUMBERS[name][column]))
    code += [struct.pack("HBBI", _RETURN, 0, 0, value) for value in (_ALLOW, _ERRNO | errno)]
    buffer = ctypes.create_string_buffer(b"".join(code))
    program = _Program(len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for unprivileged in (False, True):
        if unprivileged:
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0:
            return
    raise OSError(ctypes.get_errno(), "install a seccomp filter")


if __name__ == "__main__":
    install(int(sys.argv[1]), sys.argv[2].split(","))
    os.execv(sys.argv[3], sys.argv[3:])
