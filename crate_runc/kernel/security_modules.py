"""Which Linux security modules this host has on, and the files in which a process says what its next program runs as (apparmor(7), proc(5), /proc/PID/attr)."""

from __future__ import annotations

import os

_APPARMOR_SWITCH = "/sys/module/apparmor/parameters/enabled"
_SELINUX_SWITCH = "/sys/fs/selinux/enforce"
APPARMOR_EXEC = ("thread-self/attr/apparmor/exec", "thread-self/attr/exec")
"""The second is there on kernels before 5.8, and belongs to whichever module came first."""
APPARMOR_CURRENT = ("thread-self/attr/apparmor/current", "thread-self/attr/current")
SELINUX_EXEC = "thread-self/attr/exec"
SELINUX_KEY = "thread-self/attr/keycreate"


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
