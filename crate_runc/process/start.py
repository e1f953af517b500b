"""Start the child that becomes the container, as early as can be: a fork before anything else is loaded, so that both processes load at once.

Such a child runs from the host's own Python, and executes the container's program through a stub (stub.py). That is enough where it is alone
in a new pid namespace; where others could look at it, seal.py starts it from a sealed executable instead, which takes an interpreter's start.
"""

from __future__ import annotations

import _thread
import os

from crate_runc.kernel import namespaces, signals
from crate_runc.process import channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.process.channel import Channel


class Child:
    """The process started to become the container. `is_init`: it already stands in the container's new pid namespace (and its new user
    namespace, if any), else it will fork the process that does; `sealed_start`: it is a fresh interpreter and takes some milliseconds to
    listen; `in_user_namespace`: it already made or joined the user namespace."""

    __slots__ = ("channel", "in_user_namespace", "is_init", "pid", "sealed_start")

    def __init__(
        self,
        pid: int,
        channel: Channel,
        *,
        is_init: bool = False,
        sealed_start: bool = False,
        in_user_namespace: bool = False,
    ) -> None:
        self.pid = pid
        self.channel = channel
        self.is_init = is_init
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


_NO_OTHER_THREAD = 3  # links of /proc/self/task: itself, its parent, and the only thread
_early: Child | None = None
_grace_period = _thread.allocate_lock()
"""Held while its thread runs."""


def fork_early() -> None:
    """For create and run, when nothing is known yet: what nearly all bundles want is a pid namespace, and of an ordinary user also a user
    namespace. A caller who may not make one learns that later, together with what it was for."""
    global _early
    try:
        _early = fork(_flags(user=os.geteuid() != 0))
    except OSError:
        return
    if os.geteuid() == 0:
        _grace_period.acquire()
        _thread.start_new_thread(_begin_grace_period, ())


def _flags(*, user: bool) -> int:
    return namespaces.NEWPID | (namespaces.NEWUSER if user else 0)


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
    finally:
        _grace_period.release()


def _wait_for_thread() -> None:
    """A process that is forked beside another thread can find any lock of Python or libc taken, for ever, by the thread that it does not have.
    The last locks that a thread takes are those of its own end, so its lock is not enough: the kernel must have forgotten it."""
    with _grace_period:
        pass
    while os.stat("/proc/self/task").st_nlink > _NO_OTHER_THREAD:
        os.sched_yield()


def fork(flags: int) -> Child:
    """flags: the namespaces in which the child starts; with a pid namespace it is the container's init."""
    ours, theirs = channel.pair()
    _wait_for_thread()
    pid = namespaces.fork(flags)
    if pid:
        theirs.close()
        return Child(pid, ours, is_init=bool(flags), in_user_namespace=bool(flags & namespaces.NEWUSER))
    try:
        ours.close()
        from crate_runc.process import child

        child.run(theirs, through_stub=True, is_init=bool(flags))
    finally:
        os._exit(1)


def take(wanted: dict[str, str]) -> Child:
    """The early child where it is what the bundle's namespaces (type: path, "" for a new one) ask for, else another.

    A container in the pid namespace of others must not show them a process that runs from the host's Python: that one is sealed.
    """
    global _early
    from crate_runc.process import stub

    if wanted.get("pid") or not stub.is_possible():
        discard_early()
        return _sealed_for(wanted)
    new_user = wanted.get("user") == ""
    if wanted.get("pid") is None or wanted.get("user"):
        discard_early()
        return fork(0)
    if _early is None or _early.in_user_namespace != new_user:
        discard_early()
        return fork(_flags(user=new_user))
    child, _early = _early, None
    return child


def _sealed_for(wanted: dict[str, str]) -> Child:
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
    from crate_runc.process import seal

    return seal.start(new_user_namespace=False, user_namespace=user_namespace)


def discard_early() -> None:
    global _early
    if _early is not None:
        _early.discard()
        _early = None
