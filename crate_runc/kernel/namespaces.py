"""unshare(2), setns(2), and a clone(2) whose child is a sister of the caller."""

from __future__ import annotations

import fcntl
import os
import struct

from crate_runc.kernel import signals
from crate_runc.kernel.libc import syscall

NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
FLAG_OF_FILE = {
    "user": NEWUSER,
    "cgroup": NEWCGROUP,
    "ipc": NEWIPC,
    "uts": NEWUTS,
    "net": NEWNET,
    "pid": NEWPID,
    "mnt": NEWNS,
    "time": NEWTIME,
}
CLONE_PARENT = 0x8000
_CLONE_INTO_CGROUP = 1 << 33
_GET_NSTYPE = 0xB703


def unshare(flags: int) -> None:
    syscall("unshare", flags)


def setns(fd: int, flags: int) -> None:
    """`fd` is a namespace file (flags: its type, or 0) or a pidfd (flags: all namespaces of that process to enter at once)."""
    syscall("setns", fd, flags)


def kind_of(fd: int) -> int:
    """The flag of a namespace file's type (ioctl_nsfs(2)), 0 for another file."""
    try:
        return fcntl.ioctl(fd, _GET_NSTYPE)
    except OSError:
        return 0


def fork(flags: int) -> int:
    """As os.fork, but the child is in new namespaces. Raises OSError.

    Python's after-fork callbacks do not run; with a single thread they would change nothing that is used here.
    """
    return syscall("clone", flags | signals.SIGCHLD, 0, 0, 0, 0)


def fork_into(cgroup: int, flags: int) -> int:
    """As fork, but the child is born in that cgroup of the unified hierarchy (a fd of its directory). Linux 5.7; raises OSError, also where a filter of
    system calls does not let clone3 pass."""
    arguments = clone_arguments(flags, cgroup=cgroup, signal=signals.SIGCHLD)
    return syscall("clone3", arguments, len(arguments))


def clone_arguments(flags: int, *, cgroup: int, signal: int) -> bytes:
    """struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup. signal: 0 with CLONE_PARENT,
    as it is then the caller's own."""
    return struct.pack("=11Q", flags | _CLONE_INTO_CGROUP, 0, 0, 0, signal, 0, 0, 0, 0, 0, cgroup)


def fork_sister() -> int:
    """As fork, but the new process is a child of the caller's parent, which alone can wait for it."""
    return fork(CLONE_PARENT)


def differing(pid: int) -> int:
    """The flags of all namespaces in which `pid` is and the caller is not."""
    flags = 0
    for name, flag in FLAG_OF_FILE.items():
        try:
            theirs, ours = os.stat(f"/proc/{pid}/ns/{name}"), os.stat(f"/proc/self/ns/{name}")
        except FileNotFoundError:
            if name == "time":  # a kernel may be built without
                continue
            raise
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            flags |= flag
    return flags


def set_hostname(name: str) -> None:
    text = os.fsencode(name)
    syscall("sethostname", text, len(text))


def set_domainname(name: str) -> None:
    text = os.fsencode(name)
    syscall("setdomainname", text, len(text))
