"""What every container gets unless asked otherwise: mounts, capabilities, masked paths, limits (runtime-spec config.md, config-linux.md).

The capabilities are podman's eleven; the masked and read-only paths docker's and podman's together. Tables only.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.0.2"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
STOP_SIGNAL = "SIGTERM"
PIDS_LIMIT = 4096
TERMINAL_GROUP = 5
"""The group `tty` of every distribution, which devpts(5) gives terminals to."""

CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 0"}
"""For a network namespace of the container's own: low ports and ping(8) need no capability there."""


def mounts(*, terminal_group: bool, own_network: bool) -> list[dict[str, Any]]:
    """In the order they are made. `own_network`: sysfs may only be mounted by the owner of the network namespace; else it is bound.

    /run is a tmpfs that begins with what the image has there, as some images keep directories of their services in it.
    """
    terminals = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if terminal_group:
        terminals.append(f"gid={TERMINAL_GROUP}")
    entries = [
        _mount("/proc", "proc", ["nosuid", "noexec", "nodev"]),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", terminals),
        _mount("/dev/shm", "tmpfs", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"], source="shm"),
        _mount("/dev/mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
        _mount("/run", "tmpfs", ["nosuid", "nodev", "mode=755", "size=65536k", "tmpcopyup"]),
    ]
    if own_network:
        entries.append(_mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]))
    else:
        entries.append(_mount("/sys", "bind", ["rbind", "nosuid", "noexec", "nodev", "ro"], source="/sys"))
    # Over a bound /sys as well: the host's control groups below it could be writable, where they are delegated (CVE-2023-25809).
    entries.append(_mount("/sys/fs/cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]))
    return entries


def _mount(destination: str, kind: str, options: list[str], *, source: str | None = None) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source or kind, "options": options}
