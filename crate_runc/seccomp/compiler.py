"""Compile a profile with libseccomp (seccomp_rule_add_array(3), seccomp_export_bpf(3)) and put in front of it what answers ENOSYS.

A C library tries new system calls and falls back when they answer ENOSYS; a profile older than the call would answer EPERM, and the program
fails. So a call whose number is beyond all that the profile names is answered before the profile is asked, where its default is an error.
"""

from __future__ import annotations

import _ctypes
import errno
import os
import struct

from crate_runc.errors import RuncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.seccomp.rules import Condition, Profile

_LIBRARY = "libseccomp.so.2"
_NATIVE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32, _X86_64 = 0x4000003E, 0xC000003E
_NO_NEW_PRIVS, _OPTIMIZE = 3, 8  # attributes of a filter
_ERROR = -1
_ERRNO_ACTION, _ACTION_MASK = 0x00050000, 0xFFFF0000
# struct sock_filter: code, jump if true, jump if false, constant; struct seccomp_data starts with the number, then the architecture
_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_NOT_LESS, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x06
_X32_BIT = 0x40000000
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4


class _Word(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"


class _Integer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Returning(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Integer


class _ReturningPointer(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL
    _restype_ = _Word


class _Library:
    """The functions that are used; all arguments are passed as machine words."""

    def __init__(self) -> None:
        try:
            handle = _ctypes.dlopen(_LIBRARY, 0)
        except OSError:
            raise RuncError(
                f"compile the seccomp profile: {_LIBRARY} is not installed; the Debian package is libseccomp2"
            ) from None
        self.init = self._bind(handle, "init", 1, _ReturningPointer)
        self.release = self._bind(handle, "release", 1)
        self.arch_add = self._bind(handle, "arch_add", 2)
        self.attr_set = self._bind(handle, "attr_set", 3)
        self.resolve = self._bind(handle, "syscall_resolve_name_arch", 2)
        self.rule_add = self._bind(handle, "rule_add_array", 5)
        self.export = self._bind(handle, "export_bpf", 2)

    @staticmethod
    def _bind(handle: int, name: str, count: int, kind: type[_ctypes.CFuncPtr] = _Returning) -> _ctypes.CFuncPtr:
        function = kind(_ctypes.dlsym(handle, f"seccomp_{name}"))
        function.argtypes = [_Word] * count
        return function


def compile_profile(profile: Profile) -> bytes:
    """The BPF program for seccomp(2). Raises RuncError."""
    library = _Library()
    context = library.init(profile.action)
    if not context:
        raise RuncError("compile the seccomp profile: libseccomp refuses the default action")
    try:
        for architecture in profile.architectures:
            _expect(library.arch_add(context, architecture), "add an architecture", also=-errno.EEXIST)
        _expect(library.attr_set(context, _NO_NEW_PRIVS, 0), "set an attribute")
        library.attr_set(context, _OPTIMIZE, 2)  # a binary tree; libseccomp before 2.5 knows none
        for names, action, alternatives in profile.rules:
            for name in names:
                _add(library, context, name.encode(), action, alternatives)
        program = _export(library, context)
    finally:
        library.release(context)
    return _beyond(library, profile) + program


def _add(library: _Library, context: int, name: bytes, action: int, alternatives: list[list[Condition]]) -> None:
    number = library.resolve(_native(), name)
    if number == _ERROR:
        return
    for conditions in alternatives:
        array = b"".join(struct.pack("=IIQQ", *condition) for condition in conditions)
        result = library.rule_add(context, action, number & 0xFFFFFFFF, len(conditions), array)
        _expect(result, f"add a rule for {name.decode()}", also=-errno.EEXIST)


def _export(library: _Library, context: int) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _expect(library.export(context, fd), "export it")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _beyond(library: _Library, profile: Profile) -> bytes:
    """For each architecture: beyond the last number that a rule names, ENOSYS. x86_64 and x32 are one architecture to the kernel, and the
    numbers of x32 have a bit of their own; where the profile leaves x32 out, they are all beyond."""
    if profile.action & _ACTION_MASK != _ERRNO_ACTION or profile.action & 0xFFFF == errno.ENOSYS:
        return b""
    program = b""
    for architecture in dict.fromkeys([_native(), *profile.architectures]):
        last = _last_number(library, profile, architecture)
        if last < 0 or architecture == _X32:
            continue
        test = _instruction(_JUMP_GREATER, 0, 1, last)
        if architecture == _X86_64 and _X32 in profile.architectures:
            test = _instruction(_JUMP_NOT_LESS, 1, 0, _X32_BIT) + _instruction(_JUMP_GREATER, 1, 2, last)
            test += _instruction(_JUMP_GREATER, 0, 1, _last_number(library, profile, _X32) | _X32_BIT)
        answer = test + _instruction(_RETURN, 0, 0, _ERRNO_ACTION | errno.ENOSYS)
        program += _instruction(_JUMP_EQUAL, 0, 1 + len(answer) // 8, architecture)
        program += _instruction(_LOAD, 0, 0, _AT_NUMBER) + answer + _instruction(_LOAD, 0, 0, _AT_ARCHITECTURE)
    return _instruction(_LOAD, 0, 0, _AT_ARCHITECTURE) + program if program else b""


def _last_number(library: _Library, profile: Profile, architecture: int) -> int:
    """-1 where no rule names a call of it; libseccomp's pseudo numbers of calls that an architecture lacks are negative."""
    return max((library.resolve(architecture, name.encode()) for names, _, _ in profile.rules for name in names), default=-1)


def _instruction(code: int, if_true: int, if_false: int, constant: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant)


def _native() -> int:
    return _NATIVE[os.uname().machine]


def _expect(result: int, what: str, also: int = 0) -> None:
    if result not in (0, also):
        raise RuncError(f"compile the seccomp profile: {what}: {os.strerror(-result).lower()}")
