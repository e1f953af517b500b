"""A filter that answers EPERM to add_key, request_key and keyctl, on the processor's own architecture and its 32-bit one (keyrings(7)). Pure.

For a container that has to keep its caller's session keyring because the quota of keys is used up; all other calls are left alone.
"""

from __future__ import annotations

import errno
import struct

# (AUDIT_ARCH_, the numbers of the three); on x86_64 those of x32 are the same with one more bit
_CALLS = {
    "x86_64": ((0xC000003E, (248, 249, 250)), (0x40000003, (286, 287, 288))),
    "aarch64": ((0xC00000B7, (217, 218, 219)), (0x40000028, (309, 310, 311))),
}
_LOAD, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_AT_NUMBER, _AT_ARCHITECTURE = 0, 4
_NOT_X32 = 0xBFFFFFFF
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM


def program(machine: str) -> bytes:
    """struct sock_filter: code, jump if true, jump if false, constant."""
    found = struct.pack("=HBBI", _LOAD, 0, 0, _AT_ARCHITECTURE)
    for architecture, numbers in _CALLS[machine]:
        block = struct.pack("=HBBI", _LOAD, 0, 0, _AT_NUMBER) + struct.pack("=HBBI", _AND, 0, 0, _NOT_X32)
        for index, number in enumerate(numbers):
            block += struct.pack("=HBBI", _JUMP_EQUAL, len(numbers) - index, 0, number)
        block += struct.pack("=HBBI", _RETURN, 0, 0, _ALLOW) + struct.pack("=HBBI", _RETURN, 0, 0, _DENY)
        found += struct.pack("=HBBI", _JUMP_EQUAL, 0, len(block) // 8, architecture) + block
    return found + struct.pack("=HBBI", _RETURN, 0, 0, _DENY)
