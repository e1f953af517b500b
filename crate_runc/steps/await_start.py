"""The end of `create`: init says that the container is created, and waits at the start gate (process/start_gate.py) until `start` opens it."""

from __future__ import annotations

import os
import select

from crate_runc.kernel.calls import Buffer, Call, check
from crate_runc.process import channel
from crate_runc.process.start_gate import NEED
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import ChildContext


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
    said, ready = channel.frame(b"created"), gate.to_bytes(4, "little") + select.POLLIN.to_bytes(4, "little")
    heard = Buffer()
    return [
        Call("write", socket, said, len(said)),
        Call("close", socket),
        Call("ppoll", Buffer(ready), 1, 0, 0, 8),
        Call("read", gate, Buffer(), 1, store=heard),
        check(heard, 0xFFFFFFFF, 1),
    ]
