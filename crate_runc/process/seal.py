"""The seal: a process that becomes a container runs from an executable that nobody can write to, whatever capabilities he has (CVE-2019-5736).

/proc/PID/exe of such a process is the host's Python. A read-only clone of its *directory*, attached nowhere, cannot be made writable again
(a clone of the file could: the file would be the root of its mount); where the kernel or the caller's rights do not allow one, a sealed
memfd holds a copy, for 11 ms. Overlays are not used: they need the same rights as the clone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from crate_runc.errors import reason
from crate_runc.kernel import capability, mount, namespaces, prctl
from crate_runc.kernel.libc import AT_FDCWD, address_of, syscall
from crate_runc.process import channel
from crate_runc.process.start import Child

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_ST_RDONLY = 1
_STATX_ATTR_MOUNT_ROOT = 0x2000
_AT_NO_AUTOMOUNT = 0x800


def start(*, new_user_namespace: bool, user_namespace: int | None = None) -> Child:
    """Fork the child and let it run `process.child`, from a sealed executable. A failure in it arrives over the channel.

    new_user_namespace: make one first, as a caller without privileges can do nothing else; user_namespace: join this one (an fd) first.
    """
    sealed = is_sealed()
    ours, theirs = channel.pair()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(pid, ours, sealed_start=not sealed, in_user_namespace=new_user_namespace or user_namespace is not None)
    try:
        ours.close()
        _enter_user_namespace(new_user_namespace, user_namespace)
        if sealed:
            from crate_runc.process import child

            child.run(theirs, through_stub=False, is_init=False)
        _execute(theirs.fileno())
    except OSError as error:
        text = f"start a process that a container cannot write to: {reason(error)}"
        theirs.send(b"error\0start a sealed process\0%d\0%s" % (error.errno or 0, os.fsencode(text)))
    finally:
        os._exit(1)


def is_sealed() -> bool:
    """Whether this very process runs from an executable that can never be opened for writing; read-only by the host's mounts does not count."""
    exe = "/proc/self/exe"
    try:
        if not os.statvfs(exe).f_flag & _ST_RDONLY:
            return _is_sealed_memory(exe)
        fd = os.open(exe, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _is_mounted(fd) and not _is_mount_root(fd)
    finally:
        os.close(fd)


def _is_sealed_memory(exe: str) -> bool:
    if not os.readlink(exe).startswith("/memfd:"):
        return False
    fd = os.open(exe, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS == _SEALS
    finally:
        os.close(fd)


def _is_mounted(fd: int) -> bool:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        mount_id = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.startswith(mount_id + b" ") for line in file)


def _is_mount_root(fd: int) -> bool:
    """struct statx: u32 mask, u32 block size, u64 attributes, …"""
    status = bytearray(256)
    syscall("statx", fd, b"", 0x1000 | _AT_NO_AUTOMOUNT, 0, address_of(status))
    return bool(int.from_bytes(status[8:16], "little") & _STATX_ATTR_MOUNT_ROOT)


def _enter_user_namespace(new: bool, joined: int | None) -> None:
    """Into the user namespace, with a mount namespace of our own in it (else the clone would need rights over the host's), keeping
    every capability over the execve that follows: no id may be mapped yet."""
    if joined is not None:
        namespaces.setns(joined, namespaces.NEWUSER)
        namespaces.unshare(namespaces.NEWNS)
    elif new:
        namespaces.unshare(namespaces.NEWUSER | namespaces.NEWNS)
    else:
        return
    _, permitted, _ = capability.get()
    capability.set_all(effective=permitted, permitted=permitted, inheritable=permitted)
    for number in range(permitted.bit_length()):
        if permitted >> number & 1:
            prctl.raise_ambient(number)


def _execute(socket: int) -> None:
    """Become a sealed interpreter that runs `process/sealed.py`; `socket` stays open in it."""
    interpreter = os.readlink("/proc/self/exe")
    try:
        executable = _open_in_read_only_clone(interpreter)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EINVAL):
            raise
        executable = _copy_to_sealed_memory(interpreter)
    os.set_inheritable(socket, True)
    script = os.path.dirname(os.path.abspath(__file__)) + "/sealed.py"
    os.execve(executable, [interpreter, "-I", "-S", "-X", "utf8", script, str(socket)], _environment(interpreter))


def _environment(interpreter: str) -> dict[str, str]:
    """In the clone it cannot tell where it lies, so that `$ORIGIN` in its RPATH (ld.so(8)) leads nowhere; Pythons that are made to be moved
    about find their library by it."""
    libraries = os.path.dirname(os.path.dirname(interpreter)) + "/lib"
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    return {"LD_LIBRARY_PATH": libraries} if os.path.exists(f"{libraries}/{name}") else {}


def _open_in_read_only_clone(path: str) -> int:
    directory, _, name = path.rpartition("/")
    try:
        tree = mount.clone_tree(AT_FDCWD, directory or "/")
    except PermissionError:
        namespaces.unshare(namespaces.NEWNS)  # root of a user namespace who still stands in the mount namespace of another
        tree = mount.clone_tree(AT_FDCWD, directory or "/")
    mount.set_attributes(tree, add=mount.ATTR_RDONLY)
    return os.open(name, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=tree)


def _copy_to_sealed_memory(path: str) -> int:
    try:
        copy = os.memfd_create("crate-runc", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise OSError(error.errno, f"{reason(error)}: neither mount_setattr(2), Linux 5.12, nor memfd_create(2)") from None
    source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    while os.sendfile(copy, source, None, 1 << 24):
        pass
    os.close(source)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    return copy
