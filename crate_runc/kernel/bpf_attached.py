"""bpf(2): the device programs that are attached to a directory of cgroup2, and putting a new one in place of ours. Needs CAP_SYS_ADMIN."""

from __future__ import annotations

import os
import struct

from crate_runc.kernel import bpf
from crate_runc.kernel.libc import address_of, syscall

_PROG_DETACH, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 9, 13, 15, 16
_ATTACH_CGROUP_DEVICE = 6
_MOST = 64  # BPF_CGROUP_MAX_PROGS
_INFO_BYTES, _NAME_AT, _NAME_BYTES = 80, 64, 16


def replace_device_program(directory: str, instructions: bytes) -> None:
    """Ours, and nobody else's: systemd may have one there. In between both are in force, so that nothing is allowed that neither allows."""
    target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        before = _attached(target)
        bpf.attach_device_program(directory, instructions)
        for number in before:
            program = syscall("bpf", _PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0), 12)
            try:
                if _name(program) == bpf.NAME:
                    syscall("bpf", _PROG_DETACH, struct.pack("=III", target, program, _ATTACH_CGROUP_DEVICE), 12, path=directory)
            finally:
                os.close(program)
    finally:
        os.close(target)


def _attached(target: int) -> list[int]:
    """The ids of the device programs of this very directory."""
    numbers = bytearray(4 * _MOST)
    attributes = bytearray(struct.pack("=IIIIQII", target, _ATTACH_CGROUP_DEVICE, 0, 0, address_of(numbers), _MOST, 0))
    syscall("bpf", _PROG_QUERY, address_of(attributes), len(attributes))
    (count,) = struct.unpack_from("=I", attributes, 24)
    return list(struct.unpack_from(f"={count}I", numbers))


def _name(program: int) -> bytes:
    found = bytearray(_INFO_BYTES)
    attributes = struct.pack("=IIQ", program, len(found), address_of(found))
    syscall("bpf", _OBJ_GET_INFO_BY_FD, attributes, len(attributes))
    return bytes(found[_NAME_AT : _NAME_AT + _NAME_BYTES]).rstrip(b"\0")
