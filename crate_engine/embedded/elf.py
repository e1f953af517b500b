"""Writes a static executable for Linux: an ELF64 header, three program headers and the code.

See elf(5). The file is mapped where it says, needs no loader, and keeps code and writable memory apart. There are no sections and no symbols.
"""

from __future__ import annotations

import struct

CODE_AT = 0x400000
"""The address at which the file, headers included, is mapped; the code follows the headers."""
ZEROED_AT = 0x800000
"""The address of the writable memory, which is not in the file and starts as zeros."""
_HEADER = struct.Struct("<4sBBBBB7x HHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_PT_LOAD, _PT_GNU_STACK = 1, 0x6474E551
_EXECUTABLE, _WRITABLE, _READABLE = 1, 2, 4
_ALIGNMENT = 0x10000
"""The largest page that an arm64 kernel uses."""
_CODE_OFFSET = _HEADER.size + 3 * _PROGRAM_HEADER.size
ENTRY = CODE_AT + _CODE_OFFSET


def executable(code: bytes, *, machine: int, zeroed: int) -> bytes:
    """The file's bytes. `code` runs from its first byte; `machine` is the e_machine number; `zeroed` counts bytes at ZEROED_AT."""
    size = _CODE_OFFSET + len(code)
    if size > ZEROED_AT - CODE_AT:
        raise ValueError(f"program of {size} bytes reaches into its own memory")
    header = _HEADER.pack(
        *(b"\x7fELF", 2, 1, 1, 0, 0),  # 64 bits, little endian, version 1, System V
        *(2, machine, 1, ENTRY),  # ET_EXEC
        *(_HEADER.size, 0, 0),  # program headers follow at once, no section headers, no flags
        *(_HEADER.size, _PROGRAM_HEADER.size, 3, 0, 0, 0),
    )
    segments = (
        (_PT_LOAD, _READABLE | _EXECUTABLE, 0, CODE_AT, CODE_AT, size, size, _ALIGNMENT),
        (_PT_LOAD, _READABLE | _WRITABLE, 0, ZEROED_AT, ZEROED_AT, 0, zeroed, _ALIGNMENT),
        (_PT_GNU_STACK, _READABLE | _WRITABLE, 0, 0, 0, 0, 0, 16),
    )
    return header + b"".join(_PROGRAM_HEADER.pack(*segment) for segment in segments) + code
