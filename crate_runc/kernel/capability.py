"""capget(2) and capset(2) of the calling thread, and the names of capabilities(7). Sets are bit masks: bit n is capability n."""

from __future__ import annotations

import struct

from crate_runc.kernel.libc import address_of, syscall

_VERSION_3 = 0x20080522
NAMES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
]
HEADER = struct.pack("=Ii", _VERSION_3, 0)
NUMBER_OF = {name: number for number, name in enumerate(NAMES)}


def get() -> tuple[int, int, int]:
    """(effective, permitted, inheritable)"""
    sets = bytearray(24)
    syscall("capget", HEADER, address_of(sets))
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", sets)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def set_all(*, effective: int, permitted: int, inheritable: int) -> None:
    syscall("capset", HEADER, struct.pack("=6I", *words((effective, permitted, inheritable))))


def words(sets: tuple[int, int, int]) -> list[int]:
    """What capget(2) and capset(2) read and write, as six numbers of 32 bits."""
    return [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in sets]
