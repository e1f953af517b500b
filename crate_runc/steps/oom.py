"""process.oomScoreAdj: written by the parent, as the child's /proc files soon belong to root alone (proc_pid_oom_score_adj(5))."""

from __future__ import annotations

import os

from crate_runc.steps.step import ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ParentContext


def plan(process: dict[str, Any], *, may_fail: bool) -> list[ParentStep]:
    """may_fail: an ordinary user may not lower it below his own."""
    score = process.get("oomScoreAdj")
    return [] if score is None else [OomScore(score, may_fail=may_fail)]


class OomScore(ParentStep):
    __slots__ = ("may_fail", "score")

    def __init__(self, score: int, *, may_fail: bool) -> None:
        self.score = score
        self.may_fail = may_fail

    def describe(self) -> str:
        return f"set oom_score_adj {self.score}" + (" where permitted" if self.may_fail else "")

    def apply(self, parent: ParentContext) -> None:
        fd = os.open(f"/proc/{parent.pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % self.score)
        except PermissionError:
            if not self.may_fail:
                raise
        finally:
            os.close(fd)
