"""bpf(2): load a BPF_PROG_TYPE_CGROUP_DEVICE program and attach it to a directory of cgroup2. It stays until the cgroup is removed."""

from __future__ import annotations

import os
import struct

from crate_runc.kernel.libc import address_of, syscall

_PROG_LOAD, _PROG_ATTACH = 5, 8
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ALLOW_MULTI = 2  # programs of ancestors stay in force: all of them must allow
_INSTRUCTION_BYTES = 8
NAME = b"crate_devices"  # what bpftool(8) shows, and how our own is found again


def attach_device_program(directory: str, instructions: bytes) -> None:
    """Needs CAP_SYS_ADMIN, or CAP_BPF with CAP_NET_ADMIN."""
    program = _load(instructions)
    try:
        target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = struct.pack("=IIII", target, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
            syscall("bpf", _PROG_ATTACH, attributes, len(attributes), path=directory)
        finally:
            os.close(target)
    finally:
        os.close(program)


def _load(instructions: bytes) -> int:
    """The fd is close-on-exec; the caller closes it."""
    code, license_name = bytearray(instructions), bytearray(b"Apache-2.0\0")
    count = len(instructions) // _INSTRUCTION_BYTES
    attributes = struct.pack(
        "=IIQQIIQII16s", _TYPE_CGROUP_DEVICE, count, address_of(code), address_of(license_name), 0, 0, 0, 0, 0, NAME
    )
    return syscall("bpf", _PROG_LOAD, attributes, len(attributes))
