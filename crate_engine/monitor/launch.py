"""The engine's end of starting a monitor (posix_spawn(3), unix(7)). Light, so that a command can start the monitor as the first thing it does
and import the rest of itself meanwhile; the monitor enters its namespaces and waits for instructions."""

from __future__ import annotations

import marshal
import os
import sys

from crate_engine.monitor import protocol
from crate_engine.system.builtin import socket

CONTAINER, EXEC = "container", "exec"
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_early: dict[str, Monitor] = {}
_children: set[int] = set()


class Monitor:
    """A started monitor: its pid and the control socket; closing the socket before `instruct` ends it."""

    __slots__ = ("connection", "pid")

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self.connection = control

    def instruct(self, instructions: dict[str, object]) -> None:
        """Raises BrokenPipeError when the monitor is gone."""
        self.connection.sendall(protocol.frame(protocol.INSTRUCTIONS, marshal.dumps(instructions)))

    def give_up(self) -> None:
        """End a monitor that was not instructed."""
        self.connection.close()
        os.waitpid(self.pid, 0)
        _children.discard(self.pid)


def prepare(kind: str) -> None:
    """Start a monitor now for the `take` that will follow in this process. If none follows it ends with this process."""
    if kind not in _early:
        _early[kind] = _spawn(kind)


def take(kind: str) -> Monitor:
    """The prepared monitor, or a new one."""
    return _early.pop(kind, None) or _spawn(kind)


def collect() -> None:
    """Reap the monitors of this process that have ended; a program that starts many containers leaves no zombies."""
    for pid in list(_children):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _children.discard(pid)
        except ChildProcessError:
            _children.discard(pid)


def drop_prepared() -> None:
    """End monitors that were prepared and not taken."""
    while _early:
        _early.popitem()[1].give_up()


def _spawn(kind: str) -> Monitor:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    python = os.path.realpath(sys.executable)
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    environment = {"PATH": os.environ.get("PATH") or SAFE_PATH}
    if "XDG_RUNTIME_DIR" in os.environ:
        environment["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
    actions = [
        (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0, 1),
        (os.POSIX_SPAWN_DUP2, 0, 2),
    ]
    pid = os.posix_spawn(python, [python, "-I", "-S", program, kind], environment, file_actions=actions, setsid=True)
    theirs.close()
    collect()
    _children.add(pid)
    return Monitor(pid, ours)
