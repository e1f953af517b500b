"""Processes and namespaces: unshare(2), setns(2), prctl(2), pidfds, and the sealed start of our own interpreter."""

from __future__ import annotations

import errno
import os
import sys

from crate_engine.system.libc import AT_EMPTY_PATH, AT_FDCWD, SYS_MOUNT_SETATTR, SYS_OPEN_TREE, call, syscall

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_OPEN_TREE_CLONE, _MOUNT_ATTR_RDONLY = 1, 1


def unshare(flags: int) -> None:
    call("unshare", flags)


def setns(fd: int, flags: int) -> None:
    call("setns", fd, flags)


def set_subreaper() -> None:
    """Orphans among this process's descendants, a detached container's init first of all, become its children (prctl(2))."""
    call("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def set_parent_death_signal(signal: int) -> None:
    call("prctl", _PR_SET_PDEATHSIG, signal, 0, 0, 0)


def set_dumpable(value: bool) -> None:
    call("prctl", _PR_SET_DUMPABLE, int(value), 0, 0, 0)


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/PID/stat, in clock ticks since boot: with the boot id it identifies a process for good. None: no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def sealed_environment() -> dict[str, str]:
    """What an interpreter started by `open_sealed_interpreter` needs in its environment.

    In the clone it cannot tell where it lies, so that `$ORIGIN` in its RPATH (ld.so(8)) leads nowhere; Pythons that are made to be moved about
    find their library by it.
    """
    libraries = os.path.dirname(os.path.dirname(os.path.realpath(sys.executable))) + "/lib"
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    return {"LD_LIBRARY_PATH": libraries} if os.path.exists(f"{libraries}/{name}") else {}


def open_sealed_interpreter() -> int | None:
    """An fd of this interpreter's executable through a read-only clone of its directory, for os.execve; the caller closes it.

    Whoever later reaches /proc/PID/exe of the process finds a file that cannot be opened for writing, whatever its capabilities
    (CVE-2019-5736); a clone of the file alone would not do, as its mount could be made writable again. Needs CAP_SYS_ADMIN over the
    mount namespace and Linux 5.12. None: not possible here, and the runtime seals itself.
    """
    directory, _, name = os.path.realpath(sys.executable).rpartition("/")
    try:
        tree = syscall(SYS_OPEN_TREE, AT_FDCWD, directory or "/", _OPEN_TREE_CLONE | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    try:
        attributes = _MOUNT_ATTR_RDONLY.to_bytes(8, sys.byteorder) + bytes(24)
        syscall(SYS_MOUNT_SETATTR, tree, "", AT_EMPTY_PATH, attributes, len(attributes))
        return os.open(name, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=tree)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            return None
        raise
    finally:
        os.close(tree)
