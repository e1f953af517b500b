"""Which Linux security modules this host has on, and the files in which a process says what its next program runs as (apparmor(7), proc(5), /proc/PID/attr)."""

from __future__ import annotations

import os

_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_SWITCH = "/sys/fs/selinux/enforce"
ATTRIBUTES = "thread-self/attr"
"""The directory, below a procfs. A task may only write its own; any other gets EACCES."""
APPARMOR_EXEC = ("apparmor/exec", "exec")
"""The second is for kernels before 5.8, where the file belongs to whichever module came first."""
APPARMOR_CURRENT = ("apparmor/current", "current")
SELINUX_EXEC = "exec"
SELINUX_KEY = "keycreate"


def has_apparmor() -> bool:
    try:
        with open(_APPARMOR_SWITCH, "rb", buffering=0) as file:
            return file.read(1) == b"Y"
    except OSError:
        return False


def check_context(label: str) -> None:
    """Whether the loaded policy of SELinux knows this label. Raises OSError (EINVAL)."""
    fd = os.open("/sys/fs/selinux/context", os.O_RDWR | os.O_CLOEXEC)
    try:
        os.write(fd, label.encode() + b"\0")
    finally:
        os.close(fd)


def has_selinux() -> bool:
    """Its file system is mounted, as everywhere where it is in use."""
    return os.path.exists(_SELINUX_SWITCH)
