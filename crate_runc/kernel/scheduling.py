"""sched_setattr(2) and ioprio_set(2) of another process, and the numbers for set_mempolicy(2) and personality(2)."""

from __future__ import annotations

import struct

from crate_runc.kernel.libc import syscall

# include/uapi/linux/sched.h, include/uapi/linux/sched/types.h
POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x1,
    "SCHED_FLAG_RECLAIM": 0x2,
    "SCHED_FLAG_DL_OVERRUN": 0x4,
    "SCHED_FLAG_KEEP_POLICY": 0x8,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
_ATTRIBUTES = "=IIQiIQQQII"  # struct sched_attr: size policy flags nice priority runtime deadline period util_min util_max

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_WHO_PROCESS, _CLASS_SHIFT = 1, 13

# include/uapi/linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {"MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_NUMA_BALANCING": 1 << 13}

PERSONALITIES = {"LINUX": 0, "LINUX32": 8}


def attributes(
    policy: int, *, flags: int = 0, nice: int = 0, priority: int = 0, runtime: int = 0, deadline: int = 0, period: int = 0
) -> bytes:
    """What sched_setattr takes; times are nanoseconds."""
    size = struct.calcsize(_ATTRIBUTES)
    return struct.pack(_ATTRIBUTES, size, policy, flags, nice, priority & 0xFFFFFFFF, runtime, deadline, period, 0, 0)


def set_scheduler(pid: int, attributes: bytes) -> None:
    syscall("sched_setattr", pid, attributes, 0)


def set_io_priority(pid: int, io_class: int, level: int) -> None:
    syscall("ioprio_set", _WHO_PROCESS, pid, io_class << _CLASS_SHIFT | level)
