"""process.rlimits (setrlimit(2)). In a user namespace the child may not raise them, and the parent does it while it waits."""

from __future__ import annotations

from crate_runc.errors import StepError
from crate_runc.kernel.calls import Call
from crate_runc.kernel.libc import syscall
from crate_runc.steps.step import ChildStep, LaunchStep, ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import LaunchContext, ParentContext

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
_NO_LIMIT = 1 << 63  # values from here on mean none
_INFINITY = (1 << 64) - 1


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


class SetRlimits(LaunchStep):
    __slots__ = ("limits",)

    def __init__(self, limits: list[tuple[str, int, int]]) -> None:
        self.limits = limits

    def describe(self) -> str:
        return f"set rlimits {_text(self.limits)}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return [
            Call("prlimit64", 0, NUMBER_OF[kind], _pair(soft, hard), 0, message=_message(kind))
            for kind, soft, hard in self.limits
        ]


class SetRlimitsOfChild(ParentStep):
    __slots__ = ("limits",)

    def __init__(self, limits: list[tuple[str, int, int]]) -> None:
        self.limits = limits

    def describe(self) -> str:
        return f"set the child's rlimits {_text(self.limits)}"

    def apply(self, parent: ParentContext) -> None:
        for kind, soft, hard in self.limits:
            try:
                syscall("prlimit64", parent.pid, NUMBER_OF[kind], _pair(soft, hard), 0)
            except OSError as error:
                text = (error.strerror or "").lower()
                raise StepError("rlimits", error.errno or 0, f"{_message(kind)}: {text}") from None


def _message(kind: str) -> str:
    return f"error setting rlimit type {NUMBER_OF[kind]}"


def _pair(soft: int, hard: int) -> bytes:
    """struct rlimit64"""
    return b"".join([(_INFINITY if value >= _NO_LIMIT else value).to_bytes(8, "little") for value in (soft, hard)])
