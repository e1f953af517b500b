"""syscall(2) and its numbers: the one door from Python to the kernel for what the module os of Python 3.11 does not offer.

It stands on `_ctypes`, the C half of ctypes: the Python half costs 3 ms at start, a tenth of what the whole start of a container may cost.
No call here runs with the interpreter's lock released by hand, and none is safe with several threads: crate-runc has one.
"""

from __future__ import annotations

import _ctypes
import os
import sys

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
_ENOSYS = 38


class _Long(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Word(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Long


# name: (x86_64, aarch64). From 424 on the numbers are the same everywhere.
_NUMBERS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "ioctl": (16, 29),
    "writev": (20, 66),
    "sendmsg": (46, 211),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "fcntl": (72, 25),
    "getcwd": (79, 17),
    "fchdir": (81, 50),
    "fchown": (93, 55),
    "umask": (95, 166),
    "setsid": (112, 157),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "getresuid": (118, 148),
    "setresgid": (119, 149),
    "getresgid": (120, 150),
    "capget": (125, 90),
    "capset": (126, 91),
    "personality": (135, 92),
    "fstatfs": (138, 44),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "mount": (165, 40),
    "umount2": (166, 39),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "sched_setaffinity": (203, 122),
    "exit_group": (231, 94),
    "set_mempolicy": (238, 237),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "openat": (257, 56),
    "ppoll": (271, 73),
    "unshare": (272, 97),
    "signalfd4": (289, 74),
    "dup3": (292, 24),
    "prlimit64": (302, 261),
    "setns": (308, 268),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "statx": (332, 291),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "close_range": (436, 436),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "faccessat2": (439, 439),
    "mount_setattr": (442, 442),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}


_IN_64_BITS = {"i686": "x86_64", "i586": "x86_64", "i486": "x86_64", "i386": "x86_64", "armv8l": "aarch64"}


def _machine() -> str:
    """The processor, whatever a personality of 32 bits (setarch(8)) makes uname(2) say."""
    name = os.uname().machine
    return _IN_64_BITS.get(name, name) if sys.maxsize > 1 << 32 else name


MACHINE = _machine()


def numbers_of(machine: str) -> dict[str, int]:
    """Name → number. Raises OSError for a processor that is not known here."""
    if machine not in _COLUMN:
        raise OSError(38, f"no table of system call numbers for {machine}")
    column = _COLUMN[machine]
    return {name: pair[column] for name, pair in _NUMBERS.items()}


_number = numbers_of(MACHINE)
_itself = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
_function = _Function(_ctypes.dlsym(_itself, "syscall"))
_function.argtypes = [_Long] + [_Word] * 6
_get_errno = _ctypes.get_errno


def syscall(name: str, *arguments: int | bytes | None, path: str | None = None) -> int:
    """Call `name`; a bytes argument is passed by address, None is NULL. Raises OSError with `path` as its file name."""
    result: int = _function(_number[name], *arguments, *_PADDING[len(arguments)])
    if result < 0:
        number = _get_errno()
        text = os.strerror(number) if number != _ENOSYS else f"{os.strerror(number)}: {name}(2)"
        raise OSError(number, text, path)
    return result


_PADDING = [(0,) * (6 - count) for count in range(7)]


def address_of(buffer: bytearray) -> int:
    """Where the kernel may write into `buffer`, which the caller keeps alive and does not resize during the call."""
    view = (_Byte * len(buffer)).from_buffer(buffer)
    return _ctypes.addressof(view)


class _Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "B"
