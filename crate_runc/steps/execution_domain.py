"""linux.personality and linux.memoryPolicy: what a process can say only of itself, and what its program inherits (personality(2), set_mempolicy(2)).

The process is in its cgroup by then, whose cpuset says which memory nodes there are for it, and seccomp is not yet on.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import scheduling
from crate_runc.kernel.calls import Call
from crate_runc.rules.number_list import mask_of, numbers_of
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import CallError, Item
    from crate_runc.steps.step import Config, LaunchContext


def plan(config: Config) -> list[ChildStep]:
    linux = config.get("linux", {})
    steps: list[ChildStep] = []
    if linux.get("personality"):
        steps.append(Personality(linux["personality"]["domain"]))
    if linux.get("memoryPolicy"):
        policy = linux["memoryPolicy"]
        steps.append(MemoryPolicy(policy["mode"], policy.get("nodes", ""), policy.get("flags", [])))
    return steps


class Personality(LaunchStep):
    __slots__ = ("domain",)

    def __init__(self, domain: str) -> None:
        self.domain = domain

    def describe(self) -> str:
        return f"set the personality {self.domain}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return [Call("personality", scheduling.PERSONALITIES[self.domain])]


class MemoryPolicy(LaunchStep):
    __slots__ = ("flags", "mode", "nodes")

    def __init__(self, mode: str, nodes: str, flags: list[str]) -> None:
        self.mode = mode
        self.nodes = nodes
        self.flags = flags

    def describe(self) -> str:
        return " ".join(["set the memory policy", self.mode, *([f"of nodes {self.nodes}"] if self.nodes else []), *self.flags])

    def calls(self, launch: LaunchContext) -> list[Item]:
        """The kernel's count of bits is one more than there are."""
        mode = scheduling.MEMORY_MODES[self.mode] | sum({scheduling.MEMORY_FLAGS[flag] for flag in self.flags})
        mask = mask_of(numbers_of(self.nodes))
        return [Call("set_mempolicy", mode, mask or 0, 8 * len(mask) + 1 if mask else 0)]

    def failure(self, error: CallError) -> StepError:
        text = os.strerror(error.errno).lower()
        if error.errno == errno.EINVAL:
            text += "; no such node may be used here, or the kernel does not know the mode or the flags"
        return StepError("memory policy", error.errno, f"{self.describe()}: {text}")
