"""seccomp(2): install a filter, and ask which flags the kernel knows."""

from __future__ import annotations

import errno
import struct

from crate_runc.kernel.libc import address_of, syscall

_SET_MODE_FILTER = 1
_NEW_LISTENER, _WAIT_KILLABLE_RECV = 8, 32


def install(program: bytes, flags: int) -> int:
    """For this thread and all that it starts. With the flag NEW_LISTENER (8) a descriptor of notifications, close-on-exec, that the caller owns;
    else 0. struct sock_fprog: the number of instructions, six bytes of padding, their address."""
    instructions = bytearray(program)
    return syscall("seccomp", _SET_MODE_FILTER, flags, struct.pack("=H6xQ", len(instructions) // 8, address_of(instructions)))


def supports(flag: int) -> bool:
    """A flag that the kernel does not know is EINVAL; with one that it knows it looks for the program, which is nowhere."""
    try:
        syscall("seccomp", _SET_MODE_FILTER, flag | _NEW_LISTENER if flag == _WAIT_KILLABLE_RECV else flag, None)
    except OSError as error:
        return error.errno == errno.EFAULT
    return False
