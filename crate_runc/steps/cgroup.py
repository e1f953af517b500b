"""linux.cgroupsPath and linux.resources: the parent makes the cgroup, sees to it that the child is in it, and sets the limits.

A forked child comes in by itself (cgroup/entrance.py). A write to cgroup.procs waits 5 to 20 ms for the kernel: then the child works meanwhile, and
waits only before it looks at its own cgroup.
"""

from __future__ import annotations

from crate_runc.cgroup import device_rules
from crate_runc.cgroup.resources import writes
from crate_runc.steps.step import ChildStep, ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.host import HostFacts
    from crate_runc.steps.step import ChildContext, Config, ParentContext


def plan_prepare(unit: str = "", driver: str = "cgroupfs") -> list[ParentStep]:
    """`unit` is what systemd makes, where that is the driver."""
    return [] if driver == "disabled" else [JoinCgroup(unit)]


def plan_limits(config: Config, facts: HostFacts) -> list[ParentStep]:
    """Device rules are there even where config.json names none: a container that may use every device of the host is no container."""
    resources = config.get("linux", {}).get("resources", {})
    limits = [f"{file} {value}" for _, file, value in writes(resources, facts.cgroup_mode)]
    devices = "" if facts.rootless or facts.cgroup_mode == "none" else device_rules.describe(resources)
    applied: list[ParentStep] = [ApplyResources(limits, devices)] if limits or devices else []
    owner = _owner(config) if facts.cgroup_mode == "v2" else None
    return [*applied, GiveCgroup(owner)] if owner is not None else applied


def _owner(config: Config) -> int | None:
    """runtime-spec 1.3 config-linux.md, "Cgroup ownership": the host's uid of the container's user, where that one finds the cgroup writable,
    in a cgroup namespace. Root of the host has it anyway."""
    linux = config.get("linux", {})
    if not any(entry["type"] == "cgroup" and not entry.get("path") for entry in linux.get("namespaces", ())):
        return None
    if not any(
        entry.get("type") in ("cgroup", "cgroup2") and "ro" not in entry.get("options", ()) for entry in config.get("mounts", ())
    ):
        return None
    uid: int = config["process"].get("user", {}).get("uid", 0)
    if any(entry["type"] == "user" for entry in linux.get("namespaces", ())):
        for mapping in linux.get("uidMappings", ()):
            if 0 <= uid - mapping["containerID"] < mapping["size"]:
                return int(mapping["hostID"] + uid - mapping["containerID"])
        return None
    return uid or None


def plan_setup() -> list[ChildStep]:
    return [AwaitCgroup()]


class JoinCgroup(ParentStep):
    __slots__ = ("unit",)

    def __init__(self, unit: str = "") -> None:
        self.unit = unit

    def describe(self) -> str:
        return f"let systemd start {self.unit} with the child in it" if self.unit else "move the child into the cgroup"

    def apply(self, parent: ParentContext) -> None:
        if not parent.in_cgroup:
            parent.cgroup.join(parent.pid)
        elif not parent.in_unified:
            parent.cgroup.join_unified(parent.pid)


class ApplyResources(ParentStep):
    """What is described here is written by the cgroup, which knows its directories."""

    __slots__ = ("devices", "limits")

    def __init__(self, limits: list[str], devices: str) -> None:
        self.limits = limits
        self.devices = devices

    def describe(self) -> str:
        return "; ".join(
            ["limit the cgroup: " + ", ".join(self.limits)] * bool(self.limits) + [self.devices] * bool(self.devices)
        )

    def apply(self, parent: ParentContext) -> None:
        parent.cgroup.apply(parent.config.get("linux", {}).get("resources", {}))


class GiveCgroup(ParentStep):
    __slots__ = ("uid",)

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def describe(self) -> str:
        return f"give the cgroup to user {self.uid}, who has it writable"

    def apply(self, parent: ParentContext) -> None:
        parent.cgroup.give_to(self.uid)


class AwaitCgroup(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "wait until the parent has moved this process into its cgroup"

    def apply(self, child: ChildContext) -> None:
        child.expect(b"joined")
