"""Programs of a dozen instructions that make one system call with the arguments they are told, and exit with its error number, or 0.

No C library stands between: the number may be one that no library knows, and the interface the 32-bit one of a 64-bit processor.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

MACHINE = os.uname().machine
_BASE = 0x400000
_CODE = 120  # where the code begins: after Elf64_Ehdr and one Elf64_Phdr
NUMBERS = {
    "x86_64": {
        "acct": 163,
        "ioctl": 16,
        "keyctl": 250,
        "sched_yield": 24,
        "sched_get_priority_max": 146,
        "vhangup": 153,
        "unshare": 272,
    },
    "aarch64": {
        "acct": 89,
        "ioctl": 29,
        "keyctl": 219,
        "sched_yield": 124,
        "sched_get_priority_max": 125,
        "vhangup": 58,
        "unshare": 97,
    },
}
"""Most are of calls that neither a shell nor a runtime makes."""


def number(name: str) -> int:
    return NUMBERS[MACHINE][name]


def program(number: int, *arguments: int | bytes) -> bytes:
    """A static ELF executable for this machine. An argument of bytes is passed by address, with a zero after it."""
    make = _x86_64 if MACHINE == "x86_64" else _aarch64
    at = _BASE + _CODE + len(make(number, (0,) * len(arguments)))
    values, texts = [], b""
    for argument in arguments:
        if isinstance(argument, int):
            values.append(argument & 0xFFFFFFFFFFFFFFFF)
        else:
            values.append(at + len(texts))
            texts += argument + b"\0"
    return _elf(make(number, tuple(values)) + texts)


def program_32(number: int) -> bytes:
    """For x86_64: the call is made through the interface of i386, by int 0x80."""
    code = b"\xb8" + struct.pack("<I", number) + b"\x31\xdb\xcd\x80"  # mov eax, number; xor ebx, ebx; int 0x80
    return _elf(code + _X86_64_EXIT)


def write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o755)
    return f"/{path.name}"


_X86_64_EXIT = bytes.fromhex(
    "89c7 f7d8 3dff0f0000 7702 89c7"  # mov edi, eax; neg eax; cmp eax, 4095; ja +2; mov edi, eax
    "3dff0f0000 7602 31ff"  # cmp eax, 4095; jbe +2; xor edi, edi
    "b8e7000000 0f05"  # exit_group
)
_X86_64_REGISTERS = ("48bf", "48be", "48ba", "49ba", "49b8", "49b9")  # movabs to rdi rsi rdx r10 r8 r9


def _x86_64(number: int, arguments: tuple[int, ...]) -> bytes:
    code = b"\xb8" + struct.pack("<I", number)  # mov eax, number
    for register, value in zip(_X86_64_REGISTERS, arguments, strict=False):
        code += bytes.fromhex(register) + struct.pack("<Q", value)
    return code + b"\x0f\x05" + _X86_64_EXIT


def _aarch64(number: int, arguments: tuple[int, ...]) -> bytes:
    words = []
    for register, value in enumerate((*arguments, *[0] * (8 - len(arguments)), number)):
        for part in range(4):  # movz, then movk, of 16 bits each
            base = 0xD2800000 if part == 0 else 0xF2800000
            words.append(base | part << 21 | (value >> 16 * part & 0xFFFF) << 5 | register)
    words.append(0xD4000001)  # svc
    words += [0xCB0003E0, 0xF13FFC1F, 0x54000049, 0xD2800000]  # neg x0; cmp x0, 4095; b.ls +8; mov x0, 0
    words += [0xD2800BC8, 0xD4000001]  # exit_group
    return struct.pack(f"<{len(words)}I", *words)


def _elf(code: bytes) -> bytes:
    machine = {"x86_64": 62, "aarch64": 183}[MACHINE]
    size = _CODE + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _CODE, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return header + code
