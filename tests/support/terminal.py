"""Terminals of tests: a program on a pty of its own, and the receiving end of a console socket."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.programs import SLOW, Account


class Terminal:
    """The master of a pty, and what was read from it so far. Use as a context manager."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.seen = b""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *reason: object) -> None:
        os.close(self.fd)

    def send(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: str, *, timeout: float = 10) -> str:
        """Read until `text` comes; returns everything up to its end, and keeps the rest for the next call."""
        deadline = time.monotonic() + timeout * SLOW
        wanted = text.encode()
        while wanted not in self.seen:
            chunk = self._read(deadline)
            assert chunk, f"no {text!r} on the terminal, but {self.seen!r}"
            self.seen += chunk
        head, _, self.seen = self.seen.partition(wanted)
        return (head + wanted).decode(errors="replace")

    def rest(self, *, timeout: float = 10) -> str:
        """All that comes until the other side is closed."""
        deadline = time.monotonic() + timeout * SLOW
        while chunk := self._read(deadline):
            self.seen += chunk
        return self.seen.decode(errors="replace")

    def _read(self, deadline: float) -> bytes:
        """Empty: the other side is closed, or the time is up."""
        ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            return b""
        try:
            return os.read(self.fd, 65536)
        except OSError:  # EIO: nobody has the slave open any more
            return b""


class Session(Terminal):
    """A program whose controlling terminal is the pty."""

    def __init__(
        self,
        account: Account,
        command: Sequence[str],
        *,
        rows: int = 24,
        columns: int = 80,
        env: Mapping[str, str] | None = None,
    ) -> None:
        master, slave = os.openpty()
        super().__init__(master)
        self.resize(rows, columns)
        if account.uid != os.geteuid():
            os.fchown(slave, account.uid, account.gid)

        def take_terminal() -> None:
            os.login_tty(os.dup(0))

        try:
            self.process: subprocess.Popen[bytes] = account.popen(
                command,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                preexec_fn=take_terminal,
                env={"TERM": "xterm", "CRATE_CONFIG": "/dev/null", **(env or {})},
            )
        finally:
            os.close(slave)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *reason: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        super().__exit__(*reason)

    def wait(self, timeout: float = 10) -> int:
        """The exit status. Output is read meanwhile: a full terminal would keep the program from ending."""
        self.rest(timeout=timeout)
        return self.process.wait(timeout * SLOW)


class ConsoleSocket:
    """A listening unix socket that a runtime sends the master of a container's terminal to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._socket.settimeout(10 * SLOW)

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *reason: object) -> None:
        self._socket.close()
        self.path.unlink()

    def receive(self) -> tuple[Terminal, str]:
        """The terminal, and the name that came with it."""
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(10 * SLOW)
            size = array.array("i").itemsize
            text, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(size))
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[:size])
        assert len(descriptors) == 1, "no terminal came through the console socket"
        os.set_inheritable(descriptors[0], False)
        return Terminal(descriptors[0]), text.decode()
