"""The rules of `linux.sysctl`: only what a namespace of the container holds may be written; the rest would change the host.

runtime-spec says nothing of this; the list is the kernel's (namespaces(7), ipc_namespaces(7), sysctl/user.rst), as it is runc's. Whether a
namespace that is joined by its path is the host's own is checked by steps/sysctl.py.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import member, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.rules.shapes import Report

_IPC_SYSCTLS = (
    "kernel.auto_msgmni",
    "kernel.msg_next_id",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
)
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./")


def check(parameters: dict[str, str], namespaces: dict[str, str | None], report: Report) -> None:
    """parameters: each value is a string already; namespaces: type → path, "" or None for a new one."""
    for name, value in parameters.items():
        where = member("linux.sysctl", name)
        if not is_name(name):
            report(BundleError(where, "not the name of a kernel parameter"))
            continue
        if any(letter in value for letter in "\0\n"):
            report(BundleError(where, f"must be one line, not {quoted(value)}"))
        needed = namespace_of(name)
        if not needed:
            report(BundleError(where, "this kernel parameter belongs to the host, not to a namespace"))
        elif needed not in namespaces:
            report(BundleError(where, f'needs {"an" if needed == "ipc" else "a"} "{needed}" namespace in linux.namespaces'))
        elif _first_words(name) == ["kernel", "hostname"]:
            report(BundleError(where, "use the property hostname"))


def is_name(name: str) -> bool:
    """Words of few letters with `.` or `/` between them: nothing that leads out of /proc/sys, to another file, or into a second assignment."""
    parts = name.replace("/", ".").split(".")
    return len(parts) > 1 and all(parts) and set(name) <= _LETTERS


def namespace_of(name: str) -> str:
    """The type of namespace that holds this parameter, empty for one of the host."""
    words = _first_words(name)
    dotted = ".".join(words)
    if dotted in _IPC_SYSCTLS or words[:2] == ["fs", "mqueue"]:
        return "ipc"
    if words[0] == "net":
        return "network"
    if dotted in ("kernel.domainname", "kernel.hostname"):
        return "uts"
    return "user" if words[0] == "user" else ""


def _first_words(name: str) -> list[str]:
    """The parts of the path below /proc/sys, whichever of `.` and `/` stands between them; the other one is a part of a word."""
    dot, slash = name.find("."), name.find("/")
    by_slash = slash >= 0 and (dot < 0 or slash < dot)
    return name.split("/" if by_slash else ".")
