"""process.scheduler, ioPriority and execCPUAffinity (sched_setattr(2), ioprio_set(2), sched_setaffinity(2)), for create and exec alike.

The parent sets them from outside once the process is in its cgroup: the cpuset there has a say in which processors and which scheduler it may
have. execCPUAffinity is about processes that exec adds, as runtime-spec says; its `initial` is set before the cgroup is joined.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import scheduling
from crate_runc.rules.number_list import numbers_of
from crate_runc.steps.step import ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ParentContext

PROPERTIES = ("scheduler", "ioPriority", "execCPUAffinity")


def is_wanted(process: dict[str, Any]) -> bool:
    return any(process.get(name) for name in PROPERTIES)


def plan_prepare(process: dict[str, Any]) -> list[ParentStep]:
    """For exec, before the cgroup is joined."""
    initial = process.get("execCPUAffinity", {}).get("initial")
    return [Affinity(initial, "until it is in its cgroup")] if initial else []


def plan_attach(process: dict[str, Any], *, processors: str, is_exec: bool) -> list[ParentStep]:
    """processors: linux.resources.cpu.cpus, which tells why a scheduler may be refused."""
    steps: list[ParentStep] = []
    final = process.get("execCPUAffinity", {}).get("final")
    if is_exec and final:
        steps.append(Affinity(final, "from now on"))
    if process.get("scheduler"):
        steps.append(Scheduler(process["scheduler"], processors))
    if process.get("ioPriority"):
        steps.append(IoPriority(process["ioPriority"]["class"], process["ioPriority"].get("priority", 0)))
    return steps


class Affinity(ParentStep):
    __slots__ = ("processors", "when")

    def __init__(self, processors: str, when: str) -> None:
        self.processors = processors
        self.when = when

    def describe(self) -> str:
        return f"run the process on processors {self.processors} {self.when}"

    def apply(self, parent: ParentContext) -> None:
        try:
            os.sched_setaffinity(parent.pid, numbers_of(self.processors))
        except OSError as error:
            text = "none of them is there and allowed" if error.errno == errno.EINVAL else (error.strerror or "").lower()
            raise StepError("affinity", error.errno or 0, f"set CPU affinity to {self.processors}: {text}") from None


class Scheduler(ParentStep):
    __slots__ = ("processors", "wanted")

    def __init__(self, wanted: dict[str, Any], processors: str) -> None:
        self.wanted = wanted
        self.processors = processors

    def describe(self) -> str:
        values = [f"{name} {value}" for name, value in self.wanted.items() if name not in ("policy", "flags")]
        return " ".join(["set the scheduler", self.wanted["policy"], *values, *self.wanted.get("flags", [])])

    def apply(self, parent: ParentContext) -> None:
        wanted = self.wanted
        flags = sum({scheduling.FLAGS[name] for name in wanted.get("flags", [])})
        numbers = {name: wanted.get(name, 0) for name in ("nice", "priority", "runtime", "deadline", "period")}
        if wanted["policy"] == "SCHED_DEADLINE":
            self._forget_affinity(parent.pid)
        try:
            scheduling.set_scheduler(
                parent.pid, scheduling.attributes(scheduling.POLICIES[wanted["policy"]], flags=flags, **numbers)
            )
        except OSError as error:
            raise StepError("scheduler", error.errno or 0, f"error setting scheduler: {self._reason(error)}") from None

    def _forget_affinity(self, pid: int) -> None:
        """The kernel gives this policy only to those who may run everywhere; the caller's own affinity does not count, as in steps/launch."""
        try:
            os.sched_setaffinity(pid, range(os.cpu_count() or 1))
        except OSError:
            return

    def _reason(self, error: OSError) -> str:
        if error.errno == errno.EPERM and self.processors and self.wanted["policy"] == "SCHED_DEADLINE":
            return "process scheduler can't be used together with AllowedCPUs"
        text = f"{self.wanted['policy']}: {(error.strerror or '').lower()}"
        if error.errno == errno.EINVAL and self.wanted["policy"] == "SCHED_ISO":
            return f"{text}; the kernel has no such policy"
        if error.errno == errno.EPERM and self.wanted["policy"] in ("SCHED_FIFO", "SCHED_RR"):
            return f"{text}; it needs CAP_SYS_NICE and, in a cgroup v1 of its own, linux.resources.cpu.realtimeRuntime"
        return text


class IoPriority(ParentStep):
    __slots__ = ("io_class", "level")

    def __init__(self, io_class: str, level: int) -> None:
        self.io_class = io_class
        self.level = level

    def describe(self) -> str:
        return f"set the I/O priority {self.io_class} {self.level}"

    def apply(self, parent: ParentContext) -> None:
        try:
            scheduling.set_io_priority(parent.pid, scheduling.IO_CLASSES[self.io_class], self.level)
        except OSError as error:
            text = f"failed to set io priority: {self.io_class}: {(error.strerror or '').lower()}"
            raise StepError("I/O priority", error.errno or 0, text) from None
