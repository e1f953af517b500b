"""The start gate: a fifo in the container's state directory on which the created container waits, without polling, for `start` (fifo(7)).

The parent opens it for reading before the child leaves the host's tree, so nothing has to be opened inside the container. `start` can
open it for writing only while somebody reads, which tells at once a container that has died; and its end is closed by the execve, which tells
that the program runs.
"""

from __future__ import annotations

import errno
import os
import select

from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import ChildContext

NAME = "start"
NEED = ("gate", "")


def make(directory: str) -> int:
    """The reading end; the caller closes it."""
    path = f"{directory}/{NAME}"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def is_there(directory: str) -> bool:
    return os.path.exists(f"{directory}/{NAME}")


def pass_through(directory: str) -> bool:
    """Let the container go on, and wait until it runs its program or has ended. False: nobody waits at the gate."""
    path = f"{directory}/{NAME}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        os.write(fd, b"g")
        poll = select.poll()
        poll.register(fd, 0)  # POLLERR: the last reader is gone
        poll.poll()
    finally:
        os.close(fd)
    os.unlink(path)
    return True


class AwaitStart(ChildStep):
    """program_follows: nothing comes after this but what a stub can do, so where one executes the program it also waits."""

    __slots__ = ("program_follows",)

    def __init__(self, *, program_follows: bool) -> None:
        self.program_follows = program_follows

    def describe(self) -> str:
        return "tell the parent that the container is created, and wait for start"

    def apply(self, child: ChildContext) -> None:
        gate = child.fds[NEED]
        if child.through_stub and self.program_follows:
            child.kept += [gate, child.channel.fileno()]
            child.deferred = wait_items(gate, child.channel.fileno())
            return
        child.channel.send(b"created")
        child.created = True
        poll = select.poll()
        poll.register(gate, select.POLLIN)
        poll.poll()
        if not os.read(gate, 1):
            os._exit(1)  # a writer that came and went without a word: `start` was killed
        if child.through_stub:
            child.deferred = []


def wait_items(gate: int, socket: int) -> list[Item]:
    """The same as calls, for the stub. A gate that is opened and closed without a word ends it in silence."""
    from crate_runc.kernel.calls import Buffer, Call, check
    from crate_runc.process import channel

    said, ready = channel.frame(b"created"), gate.to_bytes(4, "little") + select.POLLIN.to_bytes(4, "little")
    heard = Buffer()
    return [
        Call("write", socket, said, len(said)),
        Call("close", socket),
        Call("ppoll", Buffer(ready), 1, 0, 0, 8),
        Call("read", gate, Buffer(), 1, store=heard),
        check(heard, 0xFFFFFFFF, 1),
    ]
