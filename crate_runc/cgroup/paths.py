"""Where a container's control groups are: OCI runtime-spec 1.3 config-linux.md, "Cgroups Path". Pure.

An absolute `cgroupsPath` starts at each mount point. A relative one, and `<container id>` where there is none, is below the caller's own
cgroup on v1; on v2 it is beside it, because a cgroup that holds processes cannot give controllers to its children (cgroups(7)). runc
does the same, so both find each other's cgroups.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.host import HostFacts


def plan(config: dict[str, Any], facts: HostFacts, container_id: str) -> dict[str, str]:
    """controller → directory, for each controller that is mounted."""
    wanted = config.get("linux", {}).get("cgroupsPath") or container_id
    beside = facts.cgroup_mode == "v2"
    directories = {}
    for controller, (mount_point, mount_root) in facts.cgroup_mounts.items():
        parts = _parts(wanted)
        if not wanted.startswith("/"):
            own = _below(facts.own_cgroups.get(controller, "/"), mount_root)
            parts = (own[:-1] if beside else own) + parts
        directories[controller] = "/".join([mount_point, *parts])
    return directories


def mount_point_of(directory: str, controller: str, facts: HostFacts) -> str:
    """The mount point that `directory` is below, or "" where that hierarchy is not mounted (any more)."""
    mount_point = facts.cgroup_mounts.get(controller, ("", ""))[0]
    return mount_point if mount_point and directory.startswith(mount_point + "/") else ""


def _below(own: str, mount_root: str) -> list[str]:
    """The caller's cgroup as seen from the root of the mount. Outside of a cgroup namespace's root it reads `/..`: start at the root."""
    own_parts, root_parts = _parts(own), _parts(mount_root)
    if ".." in own_parts:
        return []
    if own_parts[: len(root_parts)] == root_parts:
        return own_parts[len(root_parts) :]
    return own_parts


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]
