"""process.terminal: a pseudo-terminal of the container's own devpts, whose master goes to the caller (runtime-spec, config.md "Process").

The master is sent with SCM_RIGHTS to the console socket, or to the parent when the container runs in the foreground.
"""

from __future__ import annotations

import _socket
import os

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path, terminal
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext

_MASTER_NAME = "/dev/ptmx"


def plan_setup(process: dict[str, Any], *, socket: str, bind_console: bool) -> list[ChildStep]:
    """socket: the path of the console socket, "" in the foreground; bind_console: the terminal is also /dev/console (not for exec)."""
    if not process.get("terminal"):
        return []
    size = process.get("consoleSize", {})
    return [OpenTerminal(socket, size.get("height", 0), size.get("width", 0), bind_console=bind_console)]


def plan_launch(process: dict[str, Any]) -> list[ChildStep]:
    return [Session(controlling=bool(process.get("terminal")))]


class OpenTerminal(ChildStep):
    __slots__ = ("bind_console", "columns", "rows", "socket")

    def __init__(self, socket: str, rows: int, columns: int, *, bind_console: bool) -> None:
        self.socket = socket
        self.rows = rows
        self.columns = columns
        self.bind_console = bind_console

    def describe(self) -> str:
        receiver = "the console socket" if self.socket else "the parent"
        bound = ", bind it on /dev/console" if self.bind_console else ""
        return f"open a terminal in /dev/pts{bound}, send its master to {receiver}"

    def apply(self, child: ChildContext) -> None:
        try:
            master = _open_master(child.root)
            terminal.check_master(master)
            child.terminal = terminal.open_slave(master)
        except OSError as error:
            raise StepError(
                "terminal", error.errno or 0, f"open a terminal in /dev/pts: {(error.strerror or '').lower()}"
            ) from None
        if self.rows or self.columns:
            terminal.set_size(child.terminal, self.rows, self.columns)
        if self.bind_console:
            self._bind(child)
        self._send(child, master)
        os.close(master)

    def _bind(self, child: ChildContext) -> None:
        target = path.make_file_in_root(child.root, "/dev/console")
        tree = mount.clone_tree(child.terminal)
        mount.attach(tree, target)
        os.close(tree)
        os.close(target)

    def _send(self, child: ChildContext, master: int) -> None:
        if not self.socket:
            child.channel.send(b"terminal", [master])
            return
        receiver = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, child.fds["console", self.socket])
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))]
        try:
            receiver.sendmsg([_MASTER_NAME.encode()], rights, _socket.MSG_NOSIGNAL)
        except OSError as error:
            raise StepError(
                "terminal", error.errno or 0, f"send the terminal to {self.socket}: {(error.strerror or '').lower()}"
            ) from None
        receiver.close()


def _open_master(root: int) -> int:
    flags = os.O_RDWR | os.O_NOCTTY
    try:
        return path.open_in_root(root, "/dev/pts/ptmx", flags)
    except FileNotFoundError:
        return path.open_in_root(root, "/dev/ptmx", flags)


class Session(ChildStep):
    """Never in the caller's session: a process there could push input into his terminal (TIOCSTI)."""

    __slots__ = ("controlling",)

    def __init__(self, *, controlling: bool) -> None:
        self.controlling = controlling

    def describe(self) -> str:
        return "lead a new session" + (" with the terminal as stdin, stdout and stderr" if self.controlling else "")

    def apply(self, child: ChildContext) -> None:
        os.setsid()
        if self.controlling:
            terminal.make_controlling(child.terminal)
            for fd in (0, 1, 2):
                os.dup2(child.terminal, fd)
            os.close(child.terminal)
