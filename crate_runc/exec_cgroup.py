"""Where exec joins the container's cgroups when that is not simply where create made them: `exec --cgroup`, and a cgroup that takes no process."""

from __future__ import annotations

import os

from crate_runc.cgroup import files
from crate_runc.errors import CgroupError, StateError, UsageError
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.cgroup import Cgroup


def below(paths: dict[str, str], wanted: list[str]) -> dict[str, str]:
    """controller → directory, for the values of `--cgroup [CONTROLLER[,CONTROLLER…]:]PATH`. Raises UsageError and StateError. Pure."""
    chosen: dict[str, str] = {}
    for text in wanted:
        controllers, colon, path = text.rpartition(":")
        if ":" in controllers:
            raise UsageError(f"invalid --cgroup argument: {text}")
        if not colon and len(wanted) > 1:
            raise UsageError(f"invalid --cgroup argument: {text} (missing <controller>: prefix)")
        for controller in controllers.split(",") if colon else paths:
            if controller in chosen:
                raise UsageError(f"invalid --cgroup argument(s): controller {controller} specified multiple times")
            chosen[controller] = path
    for controller in chosen:
        if controller not in paths:
            raise StateError(f"unknown controller {controller} in --cgroup")
    return {controller: _below(directory, chosen.get(controller, "")) for controller, directory in paths.items()}


def _below(directory: str, path: str) -> str:
    joined = os.path.normpath(f"{directory}/{path}")
    if joined != directory and not joined.startswith(directory + "/"):
        raise StateError(f"{path} is not a sub cgroup path")
    return joined


def join_unified(group: Cgroup, init: int, pid: int) -> None:
    """For a process that could not be born in the unified cgroup. On pure v2 a container that has made cgroups of its own, and given them
    controllers, may have no process beside them (EBUSY): then it joins the container's first process `init`, wherever that is."""
    try:
        group.join_unified(pid)
    except CgroupError:
        actual = _cgroup_of(init, group.facts.cgroup_mounts.get(UNIFIED, ("", ""))[0])
        if group.facts.cgroup_mode != "v2" or not actual.startswith(group.paths.get(UNIFIED, "/") + "/"):
            raise
        files.join(actual, pid)


def _cgroup_of(pid: int, mount_point: str) -> str:
    """Its directory in the unified hierarchy; "" where it is outside of what we see."""
    try:
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return ""
    paths = [line.partition("::")[2] for line in lines if line.startswith("0::")]
    return f"{mount_point}{paths[0]}" if paths and mount_point and ".." not in paths[0].split("/") else ""
