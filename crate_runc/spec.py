"""The config.json that `spec` writes to start from: what `runc spec` and `runc spec --rootless` write, but for ociVersion.

A pure construction, then one exclusive write. The user runs a shell in a read-only root filesystem, with a terminal, three capabilities and the
namespaces pid, network, ipc, uts and mount; an ordinary user keeps the host's network and gets a user namespace that maps him to root.
"""

from __future__ import annotations

import os

from crate_runc import SPEC_VERSION, strict_json
from crate_runc.errors import RuncError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_SETS = ("bounding", "effective", "permitted", "ambient")
_ENVIRONMENT = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"]
_MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
]
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_QUIET = ["nosuid", "noexec", "nodev"]


def make(*, rootless: bool, uid: int, gid: int) -> dict[str, Any]:
    """`uid` and `gid` are the ordinary user's, who becomes root inside; without `rootless` they do not matter."""
    kinds = ["pid", "ipc", "uts", "mount", "user"] if rootless else ["pid", "network", "ipc", "uts", "mount"]
    linux: dict[str, Any] = {}
    if rootless:
        linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
        linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    else:
        linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    linux["maskedPaths"] = _MASKED
    linux["readonlyPaths"] = _READONLY
    return {
        "ociVersion": SPEC_VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runc",
        "mounts": _mounts(rootless),
        "linux": linux,
    }


def _process() -> dict[str, Any]:
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": _ENVIRONMENT,
        "cwd": "/",
        "capabilities": dict.fromkeys(_SETS, _CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mounts(rootless: bool) -> list[dict[str, Any]]:
    """Without a network namespace of his own an ordinary user may not mount sysfs; and gid 5 (tty) he does not map."""
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if rootless:
        sys = _mount("/sys", "none", "/sys", ["rbind", *_QUIET, "ro"])
    else:
        pts.append("gid=5")
        sys = _mount("/sys", "sysfs", "sysfs", [*_QUIET, "ro"])
    return [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", [*_QUIET, "mode=1777", "size=65536k"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", _QUIET),
        sys,
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_QUIET, "relatime", "ro"]),
    ]


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def write(bundle: str, *, rootless: bool) -> None:
    """<bundle>/config.json. Raises RuncError where there is one already or the directory is not writable."""
    path = os.path.join(bundle, "config.json")
    text = strict_json.dumps_indented(make(rootless=rootless, uid=os.geteuid(), gid=os.getegid()), "\t")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise RuncError(f"write {path}: the file exists; remove it first") from None
    except OSError as error:
        raise RuncError(f"write {path}: {reason(error)}") from None
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text + "\n")
