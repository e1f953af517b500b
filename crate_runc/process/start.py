"""Start the child that becomes the container: a fork of this process, which has read and planned all that the child will do.

Such a child runs from the host's own Python, and executes the container's program through a stub (stub.py). That is enough where it is alone
in a new pid namespace; where others could look at it, seal.py starts it from a sealed executable instead, which takes an interpreter's start.
"""

from __future__ import annotations

import os

from crate_runc.kernel import namespaces, signals
from crate_runc.process import channel
from crate_runc.steps.step import joins_before_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from crate_runc.cgroup.entrance import Entrance
    from crate_runc.process.channel import Channel


class Child:
    """The process started to become the container. `is_init`: it already stands in the container's new pid namespace (and its new user
    namespace, if any), else it will fork the process that does; `sealed_start`: it is a fresh interpreter, which takes some milliseconds to
    listen and has to be told everything; `in_user_namespace`: it already made or joined the user namespace; `in_cgroup`: it comes through the
    entrance of its cgroup, and `in_unified`: it was born in the unified one."""

    __slots__ = ("channel", "in_cgroup", "in_unified", "in_user_namespace", "is_init", "pid", "sealed_start")

    def __init__(
        self,
        pid: int,
        channel: Channel,
        *,
        is_init: bool = False,
        sealed_start: bool = False,
        in_user_namespace: bool = False,
        in_cgroup: bool = False,
        in_unified: bool = False,
    ) -> None:
        self.pid = pid
        self.channel = channel
        self.is_init = is_init
        self.sealed_start = sealed_start
        self.in_user_namespace = in_user_namespace
        self.in_cgroup = in_cgroup
        self.in_unified = in_unified

    def discard(self) -> None:
        """End it (the end of the channel does that, the signal is for one that never got so far) and collect it."""
        self.channel.close()
        try:
            os.kill(self.pid, signals.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def is_sealed(wanted: dict[str, str], *, hooks_inside: bool) -> bool:
    """Whether the child for these namespaces (type: path, "" for a new one) is a sealed one. A container in the pid namespace of others must not
    show them a process that runs from the host's Python, nor may it show one to its own startContainer hooks, which are the image's programs."""
    from crate_runc.process import stub

    return hooks_inside or bool(wanted.get("pid")) or not stub.is_possible()


def fork(wanted: dict[str, str], entrance: Entrance | None, body: Callable[[Channel, bool], NoReturn]) -> Child:
    """The child calls `body` with its end of the channel and whether it is the container's init; it goes through the entrance's other doors there."""
    flags = namespaces.NEWPID if wanted.get("pid") == "" else 0
    if wanted.get("user") or joins_before_user(wanted, os.geteuid()):
        flags = 0  # that namespace, or those before it, are joined first, and the pid namespace has to be made in it
    elif flags and "user" in wanted:
        flags |= namespaces.NEWUSER
    ours, theirs = channel.pair()
    pid, in_unified = _clone(flags, entrance)
    if pid:
        theirs.close()
        return Child(
            pid,
            ours,
            is_init=bool(flags),
            in_user_namespace=bool(flags & namespaces.NEWUSER),
            in_cgroup=entrance is not None,
            in_unified=in_unified,
        )
    try:
        ours.close()
        body(theirs, bool(flags))
    finally:
        os._exit(1)


def _clone(flags: int, entrance: Entrance | None) -> tuple[int, bool]:
    """Where the kernel, a filter of system calls or the rights on the cgroup do not allow to be born in it, the parent's `join` may do it, or says
    why not."""
    if entrance and entrance.unified >= 0:
        try:
            return namespaces.fork_into(entrance.unified, flags), True
        except OSError:
            pass
    return namespaces.fork(flags), entrance is not None and entrance.unified < 0


def start_sealed(wanted: dict[str, str]) -> Child:
    """Who has no privileges of his own must be in the user namespace before he can make the seal."""
    from crate_runc.process import seal

    unprivileged = os.geteuid() != 0
    if not (unprivileged and wanted.get("user")):
        return seal.start(new_user_namespace=unprivileged and "user" in wanted)
    fd = os.open(wanted["user"], os.O_RDONLY | os.O_CLOEXEC)
    try:
        return seal.start(new_user_namespace=False, user_namespace=fd)
    finally:
        os.close(fd)
