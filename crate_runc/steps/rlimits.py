"""process.rlimits (setrlimit(2)). In a user namespace the child may not raise them, and the parent does it while it waits."""

from __future__ import annotations

import resource

from crate_runc.errors import StepError
from crate_runc.steps.step import ChildStep, ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, ParentContext

NUMBER_OF = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
_INFINITY = 1 << 63  # values from here on mean no limit; the kernel's is 2^64 - 1


def plan_parent(process: dict[str, Any]) -> list[ParentStep]:
    limits = _limits(process)
    return [SetRlimitsOfChild(limits)] if limits else []


def plan_launch(process: dict[str, Any]) -> list[ChildStep]:
    limits = _limits(process)
    return [SetRlimits(limits)] if limits else []


def _limits(process: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(entry["type"], entry["soft"], entry["hard"]) for entry in process.get("rlimits", [])]


def _text(limits: list[tuple[str, int, int]]) -> str:
    return ", ".join(f"{kind} {soft}:{hard}" for kind, soft, hard in limits)


class SetRlimits(ChildStep):
    __slots__ = ("limits",)

    def __init__(self, limits: list[tuple[str, int, int]]) -> None:
        self.limits = limits

    def describe(self) -> str:
        return f"set rlimits {_text(self.limits)}"

    def apply(self, child: ChildContext) -> None:
        _apply(self.limits, 0)


class SetRlimitsOfChild(ParentStep):
    __slots__ = ("limits",)

    def __init__(self, limits: list[tuple[str, int, int]]) -> None:
        self.limits = limits

    def describe(self) -> str:
        return f"set the child's rlimits {_text(self.limits)}"

    def apply(self, parent: ParentContext) -> None:
        _apply(self.limits, parent.pid)


def _apply(limits: list[tuple[str, int, int]], pid: int) -> None:
    for kind, soft, hard in limits:
        pair = (_clamp(soft), _clamp(hard))
        try:
            if pid:
                resource.prlimit(pid, NUMBER_OF[kind], pair)
            else:
                resource.setrlimit(NUMBER_OF[kind], pair)
        except ValueError as error:  # what Python makes of EINVAL and of EPERM
            number = 1 if "not allowed" in str(error) else 22
            text = "operation not permitted" if number == 1 else "invalid argument"
            raise StepError("rlimits", number, f"error setting rlimit type {NUMBER_OF[kind]}: {text}") from None
        except OSError as error:
            text = (error.strerror or "").lower()
            raise StepError("rlimits", error.errno or 0, f"error setting rlimit type {NUMBER_OF[kind]}: {text}") from None


def _clamp(value: int) -> int:
    return resource.RLIM_INFINITY if value >= _INFINITY else value
