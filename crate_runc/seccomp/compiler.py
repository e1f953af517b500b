"""Compile a profile with libseccomp (seccomp_rule_add_array(3), seccomp_export_bpf(3)) and put in front of it what answers ENOSYS.

A C library tries new system calls and falls back when they answer ENOSYS; a profile older than the call would answer EPERM or kill, and the
program fails. So a call whose number is beyond all that the profile names is answered before the profile is asked, where its default denies.
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
_S390 = (0x00000016, 0x80000016)
_NO_NEW_PRIVS, _OPTIMIZE = 3, 8  # attributes of a filter
_ERROR = -1
_ERRNO_ACTION = 0x00050000
_PERMISSIVE = (0x7FF00000, 0x7FFC0000, 0x7FFF0000)  # a tracer, which answers itself, the log, and leave
_ACTION_MASK = 0xFFFF0000
_MOST_INSTRUCTIONS = 4096  # BPF_MAXINSNS
_FEW_NAMES = 32  # libseccomp up to 2.5.4 makes a wrong tree of no rules; few need none
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
                f"compile the seccomp profile: {_LIBRARY} is not installed; its package is libseccomp2 (Debian, Ubuntu) or libseccomp"
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


def compile_profile(profile: Profile) -> tuple[bytes, str]:
    """The BPF program for seccomp(2), and the file of the library that made it ("": unknown). Raises RuncError."""
    library = _Library()
    context = library.init(profile.action)
    if not context:
        raise RuncError("compile the seccomp profile: libseccomp refuses the default action")
    try:
        for architecture in profile.architectures:
            _expect(library.arch_add(context, architecture), f"add {name_of(architecture)}", also=-errno.EEXIST)
        _expect(library.attr_set(context, _NO_NEW_PRIVS, 0), "set an attribute")
        if sum(len(names) for names, _, _ in profile.rules) > _FEW_NAMES:
            library.attr_set(context, _OPTIMIZE, 2)  # a binary tree; libseccomp before 2.5 knows none
        for names, action, alternatives in profile.rules:
            for name in names:
                _add(library, context, name.encode(), action, alternatives)
        program = _export(library, context)
    finally:
        library.release(context)
    program = _beyond(library, profile) + program
    if len(program) > _MOST_INSTRUCTIONS * 8:
        raise RuncError(f"compile the seccomp profile: {len(program) // 8} instructions; the kernel takes {_MOST_INSTRUCTIONS}")
    return program, _loaded_from()


def _loaded_from() -> str:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as file:
        paths = {line.split(None, 5)[5].rstrip("\n") for line in file if "/libseccomp.so" in line}
    return paths.pop() if len(paths) == 1 else ""


def name_of(architecture: int) -> str:
    from crate_runc.seccomp import rules

    return next(name for name, token in rules.ARCHITECTURES.items() if token == architecture)


def _add(library: _Library, context: int, name: bytes, action: int, alternatives: list[list[Condition]]) -> None:
    number = library.resolve(_native(), name)
    if number == _ERROR:
        return
    for conditions in alternatives:
        array = b"".join(struct.pack("=IIQQ", *condition) for condition in conditions)
        result = library.rule_add(context, action, number & 0xFFFFFFFF, len(conditions), array)
        if result == -errno.EEXIST:
            raise RuncError(f"compile the seccomp profile: {name.decode()} has two actions under the same conditions")
        _expect(result, f"add a rule for {name.decode()}")


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
    if profile.action & _ACTION_MASK in _PERMISSIVE or profile.action == _ERRNO_ACTION | errno.ENOSYS:
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
        if architecture in _S390:  # a number that its kernel does not know arrives as 0, which is no call of today's
            test = _instruction(_JUMP_EQUAL, 1, 0, 0) + _instruction(_JUMP_GREATER, 0, 1, last)
        answer = test + _instruction(_RETURN, 0, 0, _ERRNO_ACTION | errno.ENOSYS)
        program += _instruction(_JUMP_EQUAL, 0, 1 + len(answer) // 8, architecture)
        program += _instruction(_LOAD, 0, 0, _AT_NUMBER) + answer + _instruction(_LOAD, 0, 0, _AT_ARCHITECTURE)
    return _instruction(_LOAD, 0, 0, _AT_ARCHITECTURE) + program if program else b""


def _last_number(library: _Library, profile: Profile, architecture: int) -> int:
    """Also of the rules that say the same as the default. -1 where no rule names a call of the architecture; libseccomp's pseudo numbers of
    calls that it lacks are negative."""
    return max((library.resolve(architecture, name.encode()) for name in profile.names), default=-1)


def _instruction(code: int, if_true: int, if_false: int, constant: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant)


def _native() -> int:
    return _NATIVE[os.uname().machine]


def _expect(result: int, what: str, also: int = 0) -> None:
    if result not in (0, also):
        raise RuncError(f"compile the seccomp profile: {what}: {os.strerror(-result).lower()}")
