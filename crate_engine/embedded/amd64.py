"""The instructions of amd64 that the embedded program needs.

Intel's Software Developer's Manual, volume 2; the system call numbers are those of arch/x86/entry/syscalls/syscall_64.tbl. Implements
`machine.Machine`. Constants are of 32 signed bits.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crate_engine.embedded.machine import Condition, Operation, Size

architecture = "amd64"
elf_machine = 62
_RAX, _RCX, _RDX, _RBX, _RSP, _RSI, _RDI, _R8, _R9, _R10 = 0, 1, 2, 3, 4, 6, 7, 8, 9, 10
first, second, base = _RAX, _RCX, _RBX
arguments: tuple[int, ...] = (_RDI, _RSI, _RDX, _R10, _R8, _R9)
number = _RAX
system_calls: Mapping[str, int] = {
    "read": 0,
    "write": 1,
    "close": 3,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "getpid": 39,
    "uname": 63,
    "getcwd": 79,
    "getuid": 102,
    "getgid": 104,
    "getppid": 110,
    "rt_sigtimedwait": 128,
    "getdents64": 217,
    "exit_group": 231,
    "openat": 257,
}
_LOADS = {1: b"\x0f\xb6", 2: b"\x0f\xb7", 4: b"\x8b", 8: b"\x8b"}
_CONDITIONS = {"==": 0x84, "!=": 0x85, "<": 0x8C, ">=": 0x8D, "<=": 0x8E, ">": 0x8F}


def _rex(wide: bool, register: int, base: int) -> bytes:
    return bytes([0x40 | wide << 3 | (register >> 3) << 2 | base >> 3])


def _registers(mode: int, register: int, base: int) -> bytes:
    """The ModRM byte."""
    return bytes([mode << 6 | (register & 7) << 3 | base & 7])


def _signed(value: int) -> bytes:
    return value.to_bytes(4, "little", signed=True)


def constant(register: int, value: int) -> bytes:
    return _rex(True, 0, register) + b"\xc7" + _registers(3, 0, register) + _signed(value)


def stack_pointer(register: int) -> bytes:
    return _rex(True, _RSP, register) + b"\x89" + _registers(3, _RSP, register)


def load(register: int, base: int, offset: int, size: Size) -> bytes:
    return _rex(size != 4, register, base) + _LOADS[size] + _registers(2, register, base) + _signed(offset)


def store(register: int, base: int, offset: int, size: Size) -> bytes:
    prefix = b"\x66" if size == 2 else b""
    opcode = b"\x88" if size == 1 else b"\x89"
    return prefix + _rex(size == 8, register, base) + opcode + _registers(2, register, base) + _signed(offset)


def combine(operation: Operation) -> bytes:
    if operation == "*":
        return b"\x48\x0f\xaf" + _registers(3, first, second)
    if operation in ("/", "%"):
        divide = b"\x31\xd2" + b"\x48\xf7" + _registers(3, 6, second)  # xor edx, edx: the upper half; div
        return divide if operation == "/" else divide + b"\x48\x89" + _registers(3, _RDX, first)
    opcode = {"+": b"\x01", "-": b"\x29", "&": b"\x21"}[operation]
    return b"\x48" + opcode + _registers(3, second, first)


def branch(condition: Condition, distance: int) -> bytes:
    compare = b"\x48\x39" + _registers(3, second, first)
    return compare + bytes([0x0F, _CONDITIONS[condition]]) + _signed(distance - 9)


def jump(distance: int) -> bytes:
    return b"\xe9" + _signed(distance - 5)


def call(distance: int) -> bytes:
    return b"\xe8" + _signed(distance - 5)


def address(register: int, distance: int) -> bytes:
    return _rex(True, register, 0) + b"\x8d" + _registers(0, register, 5) + _signed(distance - 7)  # lea register, [rip + …]


def enter() -> bytes:
    return b""


def leave() -> bytes:
    return b"\xc3"


def system_call() -> bytes:
    return b"\x0f\x05"
