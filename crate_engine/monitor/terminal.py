"""The console socket: a low-level runtime sends the pseudoterminal's master over it (SCM_RIGHTS of unix(7), runc's docs/terminals.md)."""

from __future__ import annotations

import fcntl
import os
import termios
from sys import byteorder

from crate_engine.errors import RuntimeFailed
from crate_engine.system.builtin import socket

_LONGEST_ADDRESS = 107


class ConsoleSocket:
    """Listens in a directory of ours. A runtime connects and sends before it returns, so nothing has to be awaited."""

    def __init__(self, directory: str) -> None:
        self._file = f"{directory}/console"
        self._directory = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._socket = listen(directory, "console")

    @property
    def path(self) -> str:
        """What the runtime is told; through our fd where the address would be too long for it."""
        if len(os.fsencode(self._file)) <= _LONGEST_ADDRESS:
            return self._file
        return f"/proc/{os.getpid()}/fd/{self._directory}/console"

    def receive(self) -> int:
        """The master's fd, which the caller closes. Raises RuntimeFailed where the runtime sent none."""
        self._socket.settimeout(2)
        try:
            connection = accept(self._socket)
            connection.settimeout(2)
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
            connection.close()
        except OSError as error:
            raise RuntimeFailed(f"receive the terminal from the runtime: {error}") from error
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and len(content) >= 4:
                master = int.from_bytes(content[:4], byteorder)
                if not os.isatty(master):
                    os.close(master)
                    break
                return master
        raise RuntimeFailed("receive the terminal from the runtime: it sent no terminal")

    def close(self) -> None:
        self._socket.close()
        os.close(self._directory)
        try:
            os.unlink(self._file)
        except FileNotFoundError:
            pass


def set_window(terminal: int, rows: int, columns: int) -> None:
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, rows.to_bytes(2, byteorder) + columns.to_bytes(2, byteorder) + bytes(4))
    except OSError:
        pass


def listen(directory: str, name: str) -> socket.socket:
    """A listening unix socket in the directory, however long its path is: the limit is the address's, and /proc/self/fd is short."""
    try:
        os.unlink(f"{directory}/{name}")
    except FileNotFoundError:
        pass
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        endpoint.bind(f"/proc/self/fd/{fd}/{name}")
    finally:
        os.close(fd)
    endpoint.listen(16)
    return endpoint


def accept(listener: socket.socket) -> socket.socket:
    """What socket.socket.accept does; the C class underneath, which is all that is loaded here, has only this half of it."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return socket.socket(fileno=fd)


def same_user(connection: socket.socket) -> bool:
    """Whether the peer is the user this process runs for (SO_PEERCRED); the directory's mode is the first wall, this the second."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], byteorder) == os.geteuid()
