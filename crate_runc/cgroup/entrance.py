"""How a process gets into its cgroups without a wait: born in the unified one, and into those of v1 by its own writing (clone3(2), cgroups(7)).

A pid that is written to cgroup.procs, of either version, makes the kernel stop all forks of the host first, and that takes a grace period of 5 to
20 ms under the lock of all cgroups. clone3 with CLONE_INTO_CGROUP needs none; nor does a thread that writes 0 to a v1 `tasks` file, which moves
only itself, so the process must have no other.
"""

from __future__ import annotations

import os

from crate_runc.errors import CgroupError, StepError, reason


class Entrance:
    """`unified`: the directory (O_PATH) in which to be born, or -1; `tasks`: v1 files, open to be written, and where they are. The fds are this
    object's until `close`; a forked process has its own of them."""

    __slots__ = ("tasks", "unified")

    def __init__(self, unified: int, tasks: list[tuple[int, str]]) -> None:
        self.unified = unified
        self.tasks = tasks

    def walk_through(self) -> None:
        """In the process itself, first of all. Raises StepError."""
        for fd, directory in self.tasks:
            try:
                os.write(fd, b"0")
            except OSError as error:
                raise StepError("join cgroup", error.errno or 0, f"join cgroup {directory}: {reason(error)}") from None

    def fds(self) -> list[int]:
        return [fd for fd in (self.unified, *(fd for fd, _ in self.tasks)) if fd >= 0]

    def close(self) -> None:
        for fd in self.fds():
            os.close(fd)
        self.unified, self.tasks = -1, []


def open_entrance(unified: str | None, others: set[str]) -> Entrance:
    """Directories of the unified hierarchy and of those of v1. Raises CgroupError."""
    entrance = Entrance(-1, [])
    directory = ""
    try:
        for directory in others:
            entrance.tasks.append((os.open(f"{directory}/tasks", os.O_WRONLY | os.O_CLOEXEC), directory))
        if unified is not None:
            directory = unified
            entrance.unified = os.open(unified, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        entrance.close()
        raise CgroupError(f"join cgroup {directory}: {reason(error)}") from None
    return entrance
