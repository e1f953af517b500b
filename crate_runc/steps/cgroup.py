"""linux.cgroupsPath and linux.resources: the parent makes the cgroup, moves the child into it and sets the limits.

A write to cgroup.procs waits 5 to 8 ms for the kernel: the child works meanwhile, and waits only before it looks at its own cgroup.
"""

from __future__ import annotations

from crate_runc.steps.step import ChildStep, ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config, ParentContext


def plan_prepare() -> list[ParentStep]:
    return [JoinCgroup()]


def plan_limits(config: Config) -> list[ParentStep]:
    resources = config.get("linux", {}).get("resources")
    return [ApplyResources()] if resources else []


def plan_setup() -> list[ChildStep]:
    return [AwaitCgroup()]


class JoinCgroup(ParentStep):
    __slots__ = ()

    def describe(self) -> str:
        return "move the child into the cgroup"

    def apply(self, parent: ParentContext) -> None:
        parent.cgroup.join(parent.pid)


class ApplyResources(ParentStep):
    __slots__ = ()

    def describe(self) -> str:
        return "set the limits of the cgroup"

    def apply(self, parent: ParentContext) -> None:
        parent.cgroup.apply(parent.config["linux"]["resources"])


class AwaitCgroup(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "wait until the parent has moved this process into its cgroup"

    def apply(self, child: ChildContext) -> None:
        child.expect(b"joined")
