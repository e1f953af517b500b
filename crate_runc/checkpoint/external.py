"""What of a container belongs to the host and is named, not saved: mounts, namespaces given by path, and open files (criu(8), --external).

Pure. At a checkpoint the container's own mountinfo says it; at a restore the bundle, so that an image can move to a bundle elsewhere.
"""

from __future__ import annotations

import os

from crate_runc.mounts import options as mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Config = dict[str, Any]

_KEYS = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
_JOINED = {"mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "time": "time"}


def mounts_to_save(mountinfo: str, bound: set[str]) -> list[str]:
    """`mnt[/data]:/data` for each mount that the configuration binds (at `bound`), and for each of a file system that the container has no
    whole mount of. The root is criu's to know."""
    entries = []
    for line in mountinfo.splitlines():
        fields = line.split()
        entries.append((fields[2], fields[3], _unescaped(fields[4])))
    whole = {device for device, root, point in entries if root == "/" and point != "/" and point not in bound}
    points = [point for device, _, point in entries if point != "/" and (point in bound or device not in whole)]
    return [f"mnt[{point}]:{point}" for point in dict.fromkeys(points)]


def mounts_to_restore(config: Config, bundle: str, cgroups: dict[str, str], place: Callable[[str], str]) -> list[str]:
    """`mnt[/data]:/srv/data`: the name that mounts_to_save gave it, and what is there now. `cgroups` is controller → directory of the
    container; `place` resolves the links of a path in the root file system."""
    found = {}
    for entry in config.get("mounts", []):
        if mount_options.is_bind(entry):
            found[place(entry["destination"])] = os.path.normpath(os.path.join(bundle, entry["source"]))
        elif entry.get("type") == "cgroup":
            found.update(_cgroup_mounts(place(entry["destination"]), cgroups))
    linux = config.get("linux", {})
    found.update((place(device["path"]), device["path"]) for device in linux.get("devices", []))
    found.update((place(path), "/dev/null") for path in linux.get("maskedPaths", []))
    return [f"mnt[{point}]:{source}" for point, source in found.items()]


def _cgroup_mounts(point: str, cgroups: dict[str, str]) -> dict[str, str]:
    """v1: one for each hierarchy below the mount point; v2: the mount point itself."""
    found = {}
    for controller, directory in cgroups.items():
        found[f"{point}/{directory.split('/')[4]}" if controller and directory.startswith("/sys/fs/cgroup/") else point] = (
            directory
        )
    return found


def bound_at(config: Config, place: Callable[[str], str]) -> set[str]:
    return {place(entry["destination"]) for entry in config.get("mounts", []) if mount_options.is_bind(entry)}


def bind_points(config: Config) -> list[tuple[str, str]]:
    """(destination, source) of the binds whose mount point must be there before criu mounts them: not those on a tmpfs, which it fills."""
    entries = config.get("mounts", [])
    filled = tuple(f"{entry['destination'].rstrip('/')}/" for entry in entries if entry.get("type") == "tmpfs")
    return [
        (entry["destination"], entry["source"])
        for entry in entries
        if mount_options.is_bind(entry) and not entry["destination"].startswith(filled)
    ]


def namespaces_by_path(config: Config) -> dict[str, str]:
    return {entry["type"]: entry["path"] for entry in config.get("linux", {}).get("namespaces", []) if entry.get("path")}


def namespace_to_save(kind: str, inode: int) -> str | None:
    """`net[4026531840]:extRootNetNS`; None for a kind that needs no word at a checkpoint."""
    if kind not in _KEYS:
        return None
    name, key = _KEYS[kind]
    return f"{name}[{inode}]:{key}"


def inherited_namespace(kind: str) -> str | None:
    """The key under which criu looks for the namespace's descriptor at a restore."""
    return _KEYS[kind][1] if kind in _KEYS else None


def joined_namespace(kind: str, path: str) -> dict[str, str] | None:
    """For criu to enter by path; None for what it cannot."""
    return {"ns": _JOINED[kind], "ns_file": path} if kind in _JOINED else None


def descriptor_key(link: str, mount_id: int, inode: int, container_mounts: set[int]) -> str:
    """How criu names an open file: a pipe or socket as /proc writes it (`pipe:[12]`), a file of a mount that the container does not have
    as `file[1f:3a]`; "" for one that is in the container."""
    if link.startswith(("pipe:[", "socket:[")):
        return link
    return f"file[{mount_id:x}:{inode:x}]" if mount_id not in container_mounts else ""


def mount_ids(mountinfo: str) -> set[int]:
    return {int(line.split(None, 1)[0]) for line in mountinfo.splitlines()}


def _unescaped(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
