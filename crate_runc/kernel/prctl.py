"""prctl(2): what a process says about itself."""

from __future__ import annotations

from crate_runc.kernel.libc import syscall

_SET_PDEATHSIG, SET_DUMPABLE, SET_KEEPCAPS, CAPBSET_READ, CAPBSET_DROP = 1, 4, 8, 23, 24
SET_TIMERSLACK, _SET_CHILD_SUBREAPER, SET_NO_NEW_PRIVS, GET_NO_NEW_PRIVS, CAP_AMBIENT = 29, 36, 38, 39, 47
AMBIENT_IS_SET, AMBIENT_RAISE, AMBIENT_CLEAR_ALL = 1, 2, 4


def set_parent_death_signal(signal: int) -> None:
    syscall("prctl", _SET_PDEATHSIG, signal)


def set_dumpable(value: bool) -> None:
    """Not dumpable: /proc/PID belongs to root and only CAP_SYS_PTRACE may trace the process."""
    syscall("prctl", SET_DUMPABLE, int(value))


def set_keep_capabilities(value: bool) -> None:
    """Whether the permitted set survives the next change of all user ids from 0."""
    syscall("prctl", SET_KEEPCAPS, int(value))


def set_subreaper(value: bool) -> None:
    syscall("prctl", _SET_CHILD_SUBREAPER, int(value))


def set_no_new_privileges() -> None:
    syscall("prctl", SET_NO_NEW_PRIVS, 1)


def has_no_new_privileges() -> bool:
    return bool(syscall("prctl", GET_NO_NEW_PRIVS))


def reset_timer_slack() -> None:
    syscall("prctl", SET_TIMERSLACK, 0)


def drop_bounding(capability: int) -> None:
    syscall("prctl", CAPBSET_DROP, capability)


def is_bounding(capability: int) -> bool:
    return bool(syscall("prctl", CAPBSET_READ, capability))


def raise_ambient(capability: int) -> None:
    syscall("prctl", CAP_AMBIENT, AMBIENT_RAISE, capability)


def is_ambient(capability: int) -> bool:
    return bool(syscall("prctl", CAP_AMBIENT, AMBIENT_IS_SET, capability))


def clear_ambient() -> None:
    syscall("prctl", CAP_AMBIENT, AMBIENT_CLEAR_ALL)
