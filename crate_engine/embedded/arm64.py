"""The instructions of arm64 that the embedded program needs.

Arm's Architecture Reference Manual for A-profile, part C; the system call numbers are those of include/uapi/asm-generic/unistd.h. Implements
`machine.Machine`. A label is within 1 MiB of where it is used; an offset is a multiple of the size and below 4096 of them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crate_engine.embedded.machine import Condition, Operation, Size

architecture = "arm64"
elf_machine = 183
first, second, base = 9, 10, 28
_THIRD, _ZERO = 11, 31
arguments: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
number = 8
system_calls: Mapping[str, int] = {
    "getcwd": 17,
    "openat": 56,
    "close": 57,
    "getdents64": 61,
    "read": 63,
    "write": 64,
    "exit_group": 94,
    "rt_sigaction": 134,
    "rt_sigprocmask": 135,
    "rt_sigtimedwait": 137,
    "uname": 160,
    "getpid": 172,
    "getppid": 173,
    "getuid": 174,
    "getgid": 176,
}
_LOADS = {1: 0x39400000, 2: 0x79400000, 4: 0xB9400000, 8: 0xF9400000}
_STORES = {1: 0x39000000, 2: 0x79000000, 4: 0xB9000000, 8: 0xF9000000}
_COMBINATIONS = {"+": 0x8B000000, "-": 0xCB000000, "&": 0x8A000000, "*": 0x9B007C00, "/": 0x9AC00800}
_CONDITIONS = {"==": 0, "!=": 1, ">=": 10, "<": 11, ">": 12, "<=": 13}


def _words(*words: int) -> bytes:
    return b"".join(word.to_bytes(4, "little") for word in words)


def _registers(result: int, left: int, right: int) -> int:
    return right << 16 | left << 5 | result


def _steps(distance: int, bits: int) -> int:
    """A distance in instructions, as a signed field of so many bits."""
    if distance % 4 or not -(1 << bits - 1) <= distance // 4 < 1 << bits - 1:
        raise ValueError(f"label {distance} bytes away is out of reach")
    return (distance // 4) & ((1 << bits) - 1)


def constant(register: int, value: int) -> bytes:
    halves = [(value >> 16 * place) & 0xFFFF for place in range(4)]
    code = [0xD2800000 | halves[0] << 5 | register]  # movz: the rest becomes zeros
    code += [0xF2800000 | place << 21 | half << 5 | register for place, half in enumerate(halves) if place and half]  # movk
    return _words(*code)


def stack_pointer(register: int) -> bytes:
    return _words(0x910003E0 | register)  # add register, sp, #0


def load(register: int, base: int, offset: int, size: Size) -> bytes:
    return _words(_LOADS[size] | _place(offset, size) | base << 5 | register)


def store(register: int, base: int, offset: int, size: Size) -> bytes:
    return _words(_STORES[size] | _place(offset, size) | base << 5 | register)


def _place(offset: int, size: Size) -> int:
    if offset % size or not 0 <= offset // size < 4096:
        raise ValueError(f"offset {offset} cannot be encoded")
    return offset // size << 10


def combine(operation: Operation) -> bytes:
    if operation == "%":  # udiv third, first, second; msub first = first - third * second
        return _words(
            _COMBINATIONS["/"] | _registers(_THIRD, first, second), 0x9B008000 | first << 10 | _registers(first, _THIRD, second)
        )
    return _words(_COMBINATIONS[operation] | _registers(first, first, second))


def branch(condition: Condition, distance: int) -> bytes:
    compare = 0xEB000000 | _registers(_ZERO, first, second)
    return _words(compare, 0x54000000 | _steps(distance - 4, 19) << 5 | _CONDITIONS[condition])


def jump(distance: int) -> bytes:
    return _words(0x14000000 | _steps(distance, 26))


def call(distance: int) -> bytes:
    return _words(0x94000000 | _steps(distance, 26))


def address(register: int, distance: int) -> bytes:
    if not -(1 << 20) <= distance < 1 << 20:
        raise ValueError(f"label {distance} bytes away is out of reach")
    return _words(0x10000000 | (distance & 3) << 29 | ((distance >> 2) & 0x7FFFF) << 5 | register)  # adr


def enter() -> bytes:
    return _words(0xA9BF7BFD)  # stp x29, x30, [sp, #-16]!: a call inside overwrites x30, the way back


def leave() -> bytes:
    return _words(0xA8C17BFD, 0xD65F03C0)  # ldp x29, x30, [sp], #16; ret


def system_call() -> bytes:
    return _words(0xD4000001, 0xAA0003E0 | first)  # svc #0; mov first, x0
