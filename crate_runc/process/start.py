"""Start the child that becomes the container, as early as can be: a fork before anything else is loaded, so that both processes load at once.

Such a child runs from the host's own Python, and executes the container's program through a stub (stub.py). That is enough where it is alone
in a new pid namespace; where others could look at it, seal.py starts it from a sealed executable instead, which takes an interpreter's start.
"""

from __future__ import annotations

import _thread
import os

from crate_runc.kernel import signals
from crate_runc.process import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.process.channel import Channel


class Child:
    """The process started to become the container. `sealed_start`: it is a fresh interpreter and takes some milliseconds to listen;
    `in_user_namespace`: it already made (or joined) the user namespace, in which it holds every capability."""

    __slots__ = ("channel", "in_user_namespace", "pid", "sealed_start")

    def __init__(self, pid: int, channel: Channel, *, sealed_start: bool = False, in_user_namespace: bool = False) -> None:
        self.pid = pid
        self.channel = channel
        self.sealed_start = sealed_start
        self.in_user_namespace = in_user_namespace

    def discard(self) -> None:
        """End it (the end of the channel does that, the signal is for one that never got so far) and collect it."""
        self.channel.close()
        try:
            os.kill(self.pid, signals.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


_early: Child | None = None


def fork_early() -> None:
    global _early
    _early = fork()
    if os.geteuid() == 0:
        _thread.start_new_thread(_begin_grace_period, ())


def _begin_grace_period() -> None:
    """The first process that is moved to a cgroup after a while waits 5 to 20 ms for an RCU grace period, those right after it do not. A move
    that changes nothing, of this process to the cgroup where it is, lets that pass while both processes load their modules."""
    try:
        with open("/proc/self/cgroup", "rb", buffering=0) as file:
            own = file.read(1 << 16).rpartition(b"::")[2].strip()
        for top in (b"/sys/fs/cgroup/unified", b"/sys/fs/cgroup"):
            if os.path.exists(top + b"/cgroup.procs"):
                fd = os.open(top + own + b"/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                os.write(fd, b"0")
                os.close(fd)
                return
    except OSError:
        return


def fork() -> Child:
    ours, theirs = channel.pair()
    pid = os.fork()
    if pid:
        theirs.close()
        return Child(pid, ours)
    try:
        ours.close()
        from crate_runc.process import child

        child.run(theirs, through_stub=True)
    finally:
        os._exit(1)


def take(*, sealed: bool, new_user_namespace: bool = False, user_namespace: int | None = None) -> Child:
    """The early child, or where a sealed one is asked for, that. The user namespace is made, or joined (an fd), before the seal by whom has
    no privileges of his own."""
    global _early
    if not sealed:
        from crate_runc.process import stub

        if stub.is_possible():
            child, _early = _early or fork(), None
            return child
    discard_early()
    from crate_runc.process import seal

    unprivileged = os.geteuid() != 0
    if unprivileged and user_namespace is not None:
        return seal.start(new_user_namespace=False, user_namespace=user_namespace)
    return seal.start(new_user_namespace=unprivileged and new_user_namespace)


def seal_early() -> None:
    """For exec: a child that needs no user namespace first."""
    global _early
    if os.geteuid() == 0:
        from crate_runc.process import seal

        _early = seal.start(new_user_namespace=False)


def take_sealed(user_namespace: int | None) -> Child:
    """For exec: the child of seal_early, or one that joins the user namespace (an fd) first."""
    global _early
    if user_namespace is None and _early is not None:
        child, _early = _early, None
        return child
    return take(sealed=True, user_namespace=user_namespace)


def discard_early() -> None:
    global _early
    if _early is not None:
        _early.discard()
        _early = None
