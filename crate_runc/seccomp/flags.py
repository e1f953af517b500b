"""How a filter is installed: the flags of linux.seccomp as seccomp(2) wants them, and whether it has a listener. Pure, and cheap to import.

runtime-spec 1.3, config-linux.md "Seccomp". Where a profile names no flags at all, speculation is left as the program has it, as runc does it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NOTIFY = "SCMP_ACT_NOTIFY"
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
NEW_LISTENER = 8
_TSYNC, _SPEC_ALLOW, _WAIT_KILLABLE = 1, 4, 32


def notifies(seccomp: dict[str, Any]) -> bool:
    """Whether a listener decides on some system call."""
    return any(entry["action"] == NOTIFY for entry in seccomp.get("syscalls", ()))


def bits(seccomp: dict[str, Any]) -> int:
    """TSYNC is for the other threads, of which there are none, and the kernel does not take it together with a listener; how to wait for a
    listener says nothing where there is none."""
    names = seccomp.get("flags")
    found = _SPEC_ALLOW if names is None else sum({FLAGS[name] for name in names}) & ~_TSYNC
    return found | NEW_LISTENER if notifies(seccomp) else found & ~_WAIT_KILLABLE


def names_in(value: int) -> list[str]:
    return [name for name, bit in FLAGS.items() if value & bit]


def describe(seccomp: dict[str, Any]) -> str:
    names = {name for entry in seccomp.get("syscalls", ()) for name in entry["names"]}
    listener = f", with the listener {seccomp['listenerPath']}" if notifies(seccomp) else ""
    return f"{seccomp['defaultAction']} but for {len(names)} system calls{listener}"
