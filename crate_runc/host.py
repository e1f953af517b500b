"""What planners must know of the host, probed once and then plain values: HostFacts.

Sources: proc(5), cgroups(7), user_namespaces(7). Planners take the facts as an argument, so tests and golden plans use made-up ones.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    CgroupMode = Literal["v1", "hybrid", "v2", "none"]

_CHUNK = 1 << 15  # bytes
UNIFIED = ""  # the name of the cgroup2 hierarchy, as /proc/self/cgroup writes it


class HostFacts:
    """`cgroup_mounts` is controller → (mount point, the cgroup at its root); `own_cgroups` is controller → the caller's cgroup.

    A controller is named as in /proc/self/cgroup: "memory", "name=systemd", and "" for the unified hierarchy. `rootless` says that a
    cgroup that may not be made is no error as long as no limit is asked for.
    """

    __slots__ = (
        "cgroup_mode",
        "cgroup_mounts",
        "egid",
        "euid",
        "in_user_namespace",
        "kernel",
        "last_capability",
        "own_cgroups",
        "rootless",
    )

    def __init__(
        self,
        *,
        euid: int = 0,
        egid: int = 0,
        in_user_namespace: bool = False,
        cgroup_mode: CgroupMode = "v2",
        cgroup_mounts: dict[str, tuple[str, str]] | None = None,
        own_cgroups: dict[str, str] | None = None,
        last_capability: int = 40,
        kernel: tuple[int, int] = (5, 14),
        rootless: bool | None = None,
    ) -> None:
        self.euid = euid
        self.egid = egid
        self.in_user_namespace = in_user_namespace
        self.cgroup_mode: CgroupMode = cgroup_mode
        self.cgroup_mounts = {UNIFIED: ("/sys/fs/cgroup", "/")} if cgroup_mounts is None else cgroup_mounts
        self.own_cgroups = {UNIFIED: "/"} if own_cgroups is None else own_cgroups
        self.last_capability = last_capability
        self.kernel = kernel
        self.rootless = euid != 0 or in_user_namespace if rootless is None else rootless


def probe(rootless: bool | None = None) -> HostFacts:
    """The facts of this process now. `rootless` is the global flag; None stands for "auto"."""
    mounts = parse_cgroup_mounts(_read("/proc/self/mountinfo"))
    release = os.uname().release.split(".")
    return HostFacts(
        euid=os.geteuid(),
        egid=os.getegid(),
        in_user_namespace=_read("/proc/self/uid_map").split() != ["0", "0", "4294967295"],
        cgroup_mode=cgroup_mode_of(mounts),
        cgroup_mounts=mounts,
        own_cgroups=parse_own_cgroups(_read("/proc/self/cgroup")),
        last_capability=int(_read("/proc/sys/kernel/cap_last_cap")),
        kernel=(int(release[0]), int(release[1].partition("-")[0])),
        rootless=rootless,
    )


def parse_cgroup_mounts(mountinfo: str) -> dict[str, tuple[str, str]]:
    """controller → (mount point, root) of the first mount of each hierarchy; a hierarchy may carry several controllers."""
    mounts: dict[str, tuple[str, str]] = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - cgroup")
        if not after:
            continue
        root, mount_point = (_unescape(field) for field in before.split()[3:5])
        if after.startswith("2 "):
            mounts.setdefault(UNIFIED, (mount_point, root))
            continue
        for option in after.rpartition(" ")[2].split(","):
            if option not in ("rw", "ro"):
                mounts.setdefault(option, (mount_point, root))
    return mounts


def cgroup_mode_of(mounts: dict[str, tuple[str, str]]) -> CgroupMode:
    if UNIFIED in mounts:
        return "v2" if len(mounts) == 1 else "hybrid"
    return "v1" if mounts else "none"


def parse_own_cgroups(text: str) -> dict[str, str]:
    own: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    return own


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    if "\\" not in field:
        return field
    parts = field.split("\\")
    return parts[0] + "".join(chr(int(part[:3], 8)) + part[3:] for part in parts[1:])


def _read(path: str) -> str:
    """Without a file object of text, which takes nine system calls."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = b""
        while part := os.read(fd, _CHUNK):
            raw += part
    finally:
        os.close(fd)
    return raw.decode("utf-8", "surrogateescape")
