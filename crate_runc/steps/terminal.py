"""process.terminal: a pseudo-terminal of the container's own devpts, whose master goes to the caller (runtime-spec, config.md "Process").

The master is sent with SCM_RIGHTS to the console socket, or to the parent when the container runs in the foreground.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel.calls import At, Buffer, Call, CallError, Label, Value, check
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.kernel.calls import Argument, Item
    from crate_runc.steps.step import ChildContext, LaunchContext

_MASTER_NAME = "/dev/ptmx"
_TIOCGPTPEER, _TIOCSPTLCK, _TIOCSCTTY, _TIOCSWINSZ = 0x5441, 0x40045431, 0x540E, 0x5414
_AT_FDCWD, _AT_EMPTY_PATH, _RESOLVE_NO_MAGICLINKS = -100, 0x1000, 2
_STATX_SIZE, _STATX_TYPE, _MAJOR_OFFSET, _MINOR_OFFSET = 256, 1, 128, 132
_PTMX, _SLAVE_MAJORS, _SLAVE_MASK = (5, 2), 0x88, 0xFFFFFFF8  # majors 136 to 143


def plan_setup(process: dict[str, Any], *, socket: str, bind_console: bool) -> list[ChildStep]:
    """socket: the path of the console socket, "" in the foreground; bind_console: the terminal is also /dev/console (not for exec)."""
    if not process.get("terminal"):
        return []
    size = process.get("consoleSize", {})
    return [OpenTerminal(socket, size.get("height", 0), size.get("width", 0), bind_console=bind_console)]


def plan_launch(process: dict[str, Any]) -> list[ChildStep]:
    return [Session(controlling=bool(process.get("terminal")))]


class OpenTerminal(LaunchStep):
    """The slave is opened through the master, never by a name that could lead elsewhere (CVE-2025-52565)."""

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

    def calls(self, launch: LaunchContext) -> list[Item]:
        """Of a process whose root is the container's."""
        master, opened = Buffer(), Label()
        return [
            *_open("/dev/pts/ptmx", master, opened, forgive=(errno.ENOENT,)),
            *_open(_MASTER_NAME, master, opened, forgive=()),
            opened,
            *self._open_slave(Value(master), launch),
            *launch.send_terminal(master),
            Call("close", Value(master)),
        ]

    def apply(self, child: ChildContext) -> None:
        """Before the root switch: the container's root is the descriptor child.root."""
        from crate_runc.kernel import perform

        try:
            master = _open_master(child.root)
            perform.perform(self._open_slave(master, child))
        except OSError as error:
            raise StepError("terminal", error.errno or 0, f"{_OPEN}: {(error.strerror or '').lower()}") from None
        except CallError as error:
            raise self.failure(error) from None
        if self.bind_console:
            _bind(child)
        self._send(child, master)
        os.close(master)

    def _open_slave(self, master: Argument, launch: LaunchContext) -> list[Item]:
        launch.terminal = Buffer()
        items: list[Item] = [
            *_is_device(master, _PTMX[0], 0xFFFFFFFF),
            Call("ioctl", master, _TIOCSPTLCK, bytes(4), message=_OPEN),
            Call("ioctl", master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, store=launch.terminal, message=_OPEN),
            *_is_device(Value(launch.terminal), _SLAVE_MAJORS, _SLAVE_MASK),
        ]
        if self.rows or self.columns:
            size = self.rows.to_bytes(2, "little") + self.columns.to_bytes(2, "little") + bytes(4)
            items.append(Call("ioctl", Value(launch.terminal), _TIOCSWINSZ, size, message=_OPEN))
        return items

    def _send(self, child: ChildContext, master: int) -> None:
        if not self.socket:
            child.channel.send(b"terminal", [master])
            return
        send_master(child.fds["console", self.socket], master, self.socket)


_OPEN = "open a terminal in /dev/pts"


def _open(path: str, master: Buffer, opened: Label, *, forgive: tuple[int, ...]) -> list[Item]:
    """Without following a link of /proc; leaves the descriptor in `master` and goes on at `opened`, or after itself where that is forgiven."""
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    name = path.encode() + b"\0"
    how = b"".join(word.to_bytes(8, "little") for word in (flags, 0, _RESOLVE_NO_MAGICLINKS))
    known = Call(
        "openat2",
        _AT_FDCWD,
        name,
        how,
        len(how),
        store=master,
        then=opened,
        forgive=(errno.ENOSYS, errno.EPERM, *forgive),
        message=_OPEN,
    )
    plain = Call("openat", _AT_FDCWD, name, flags | os.O_NOFOLLOW, 0, store=master, then=opened, forgive=forgive, message=_OPEN)
    return [known, plain]


def _is_device(fd: Argument, major: int, mask: int) -> list[Item]:
    status = Buffer(_STATX_SIZE)
    items: list[Item] = [
        Call("statx", fd, b"\0", _AT_EMPTY_PATH, _STATX_TYPE, status, message=_OPEN),
        check(At(status, _MAJOR_OFFSET), mask, major, error=errno.ENOTTY, message=_OPEN),
    ]
    if major == _PTMX[0]:
        items.append(check(At(status, _MINOR_OFFSET), mask, _PTMX[1], error=errno.ENOTTY, message=_OPEN))
    return items


def _bind(child: ChildContext) -> None:
    from crate_runc.kernel import mount
    from crate_runc.mounts.point import open_target

    assert child.terminal is not None
    target = open_target(child, "/dev/console", is_directory=False)
    tree = mount.clone_tree(int.from_bytes(child.terminal.content, "little"))
    mount.attach(tree, target)
    os.close(tree)
    os.close(target)


def _open_master(root: int) -> int:
    from crate_runc.kernel import path

    flags = os.O_RDWR | os.O_NOCTTY
    try:
        return path.open_in_root(root, "/dev/pts/ptmx", flags)
    except FileNotFoundError:
        return path.open_in_root(root, _MASTER_NAME, flags)


def send_master(console: int, master: int, path: str) -> None:
    """To the console socket, a connected descriptor that is closed; the master stays open. Raises StepError."""
    import _socket

    receiver = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, console)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, master.to_bytes(4, "little"))]
    try:
        receiver.sendmsg([_MASTER_NAME.encode()], rights, _socket.MSG_NOSIGNAL)
    except OSError as error:
        raise StepError("terminal", error.errno or 0, f"send the terminal to {path}: {(error.strerror or '').lower()}") from None
    finally:
        receiver.close()


class Session(LaunchStep):
    """Never in the caller's session: a process there could push input into his terminal (TIOCSTI)."""

    __slots__ = ("controlling",)

    def __init__(self, *, controlling: bool) -> None:
        self.controlling = controlling

    def describe(self) -> str:
        return "lead a new session" + (" with the terminal as stdin, stdout and stderr" if self.controlling else "")

    def calls(self, launch: LaunchContext) -> list[Item]:
        items: list[Item] = [Call("setsid")]
        if self.controlling:
            assert launch.terminal is not None
            slave = Value(launch.terminal)
            items += [
                Call("ioctl", slave, _TIOCSCTTY, 0),
                *(Call("dup3", slave, fd, 0) for fd in (0, 1, 2)),
                Call("close", slave),
            ]
        return items
