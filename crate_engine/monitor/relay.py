"""Copies between a process's standard streams, its log and the attached clients, and collects the process when it ends (poll(2), tty(4)).

A client that reads slowly slows the process down, as a pipe would; nothing is dropped. Starting and ending things is not done here.
"""

from __future__ import annotations

import os
import select

from crate_engine.monitor import protocol
from crate_engine.monitor.protocol import frame
from crate_engine.monitor.terminal import accept, set_window
from crate_engine.system.builtin import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_engine.monitor.log import LogWriter


_CHUNK = 32 << 10
_WAITING = 256 << 10
"""Bytes waiting for one client beyond which the process's output is not read, and for standard input beyond which the client is not."""
_STREAMS = {protocol.STDOUT: "stdout", protocol.STDERR: "stderr"}


class Client:
    """A connected socket. `attached`: it gets the output; a client that sent input and goes away ends the input."""

    __slots__ = ("attached", "connection", "frames", "outgoing", "sent_input")

    def __init__(self, connection: socket.socket, *, attached: bool = False) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.attached = attached
        self.sent_input = False
        self.frames = protocol.Frames(protocol.CLIENT_FRAME)
        self.outgoing = bytearray()


class Relay:
    """Owns and closes the fds that it is given. With a terminal `stdin` and the one output are the same fd, the master's."""

    def __init__(self, wake: int, outputs: dict[int, bytes], stdin: int | None, *, terminal: bool, log: LogWriter | None) -> None:
        self._wake = wake
        self._outputs = outputs
        self._stdin = stdin
        self._terminal = terminal
        self._log = log
        self._listener: socket.socket | None = None
        self._accepted: Callable[[socket.socket], bool] = lambda _: False
        self._clients: list[Client] = []
        self._input = bytearray()
        self._input_ended = False
        for fd in {*outputs, *([stdin] if stdin is not None else [])}:
            os.set_blocking(fd, False)

    def add(self, client: Client) -> None:
        self._clients.append(client)

    def listen(self, listener: socket.socket, allowed: Callable[[socket.socket], bool]) -> None:
        listener.setblocking(False)
        self._listener, self._accepted = listener, allowed

    def serve(self, pid: int) -> int:
        """Run until the child `pid` has ended and what it wrote is read; returns its wait status. Other children are collected as well."""
        while True:
            status = _collect(pid)
            if status is not None:
                break
            self._turn(None)
        self._drain()
        return status

    def announce(self, *frames: bytes) -> None:
        """Take no new clients, and send these last frames to every client as far as it reads now."""
        if self._listener:
            self._listener.close()
            self._listener = None
        for client in list(self._clients):
            client.frames.limit = 0  # nothing more is wanted from it
            self._send(client, b"".join(frames))

    def finish(self) -> None:
        """Close everything, each client when it has read all; waits for those that have not. Who saw the end of his connection knows that
        the caller of this has cleaned up."""
        self._close_streams()
        while self._clients:
            for client in [client for client in self._clients if not client.outgoing]:
                self._lose(client)
            if self._clients:
                self._turn(None, reading=False)

    def _close_streams(self) -> None:
        for fd in {*self._outputs, *([self._stdin] if self._stdin is not None else [])}:
            os.close(fd)
        self._outputs, self._stdin = {}, None
        if self._log:
            try:
                self._log.close()
            except OSError:
                pass  # the disk is full: what is lost is the end of the log, not the exit status
            self._log = None

    def _drain(self) -> None:
        """What the ended process wrote is in the pipes now; a descendant that keeps one open is not waited for."""
        for fd in list(self._outputs):
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            # poll first: for a terminal it flushes what the line discipline still holds back
            while fd in self._outputs and poll.poll(0):
                self._read_output(fd)
                self._wait_for_slow_clients()

    def _wait_for_slow_clients(self) -> None:
        while any(len(client.outgoing) > _WAITING for client in self._clients):
            self._turn(None, reading=False)

    def _turn(self, timeout: int | None, *, reading: bool = True) -> None:
        """One wait for anything to happen, and the answer to it."""
        actions: dict[int, tuple[int, Callable[[int], None]]] = {}
        if reading:
            self._expect_streams(actions)
        for client in self._clients:
            events = select.POLLOUT if client.outgoing else 0
            if reading and len(self._input) <= _WAITING:
                events |= select.POLLIN
            actions[client.connection.fileno()] = (events, lambda event, client=client: self._serve_client(client, event))  # type: ignore[misc]
        poll = select.poll()
        for fd, (events, _) in actions.items():
            poll.register(fd, events)
        for fd, event in poll.poll(timeout):
            actions[fd][1](event)

    def _expect_streams(self, actions: dict[int, tuple[int, Callable[[int], None]]]) -> None:
        actions[self._wake] = (select.POLLIN, lambda _: _empty(self._wake))
        if self._listener:
            actions[self._listener.fileno()] = (select.POLLIN, lambda _: self._accept())
        slow = any(len(client.outgoing) > _WAITING for client in self._clients)
        for fd in self._outputs:
            events = 0 if slow else select.POLLIN
            if fd == self._stdin and self._input:
                events |= select.POLLOUT
            if events:
                actions[fd] = (events, lambda event, fd=fd: self._serve_output(fd, event))  # type: ignore[misc]
        if self._stdin is not None and self._stdin not in self._outputs and self._input:
            actions[self._stdin] = (select.POLLOUT, lambda _: self._write_input())

    def _serve_output(self, fd: int, event: int) -> None:
        if event & select.POLLOUT and fd == self._stdin:
            self._write_input()
        if event & ~select.POLLOUT and fd in self._outputs:
            self._read_output(fd)

    def _read_output(self, fd: int) -> None:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""  # EIO from a terminal: every slave is closed
        kind = self._outputs[fd]
        if not chunk:
            self._close_output(fd)
            return
        if self._log:
            try:
                self._log.write(_STREAMS[kind], chunk)
            except OSError:
                pass  # a full disk must not stop the container
        for client in list(self._clients):
            if client.attached:
                self._send(client, frame(kind, chunk))

    def _close_output(self, fd: int) -> None:
        del self._outputs[fd]
        os.close(fd)
        if fd == self._stdin:
            self._stdin = None
            self._input.clear()

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection = accept(self._listener)
        except OSError:
            return
        if self._accepted(connection):
            self._clients.append(Client(connection))
        else:
            connection.close()

    def _serve_client(self, client: Client, event: int) -> None:
        if event & select.POLLOUT and client in self._clients:
            self._send(client, b"")
        if event & ~select.POLLOUT and client in self._clients:
            self._hear(client)

    def _hear(self, client: Client) -> None:
        try:
            received = client.connection.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose(client)
            return
        try:
            frames = client.frames.feed(received)
        except ValueError:
            self._lose(client)
            return
        for kind, payload in frames:
            self._obey(client, kind, payload)

    def _obey(self, client: Client, kind: bytes, payload: bytes) -> None:
        if kind == protocol.ATTACH:
            client.attached = True
        elif kind == protocol.STDIN and not self._input_ended and self._stdin is not None:
            client.sent_input = True
            self._input += payload
            self._write_input()
        elif kind == protocol.STDIN_END:
            self._end_input()
        elif kind == protocol.WINDOW and self._terminal and self._stdin is not None and len(payload) == 4:
            rows, columns = int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:], "big")
            set_window(self._stdin, rows, columns)

    def _lose(self, client: Client) -> None:
        self._clients.remove(client)
        client.connection.close()
        if client.sent_input:
            self._end_input()

    def _end_input(self) -> None:
        """A pipe is closed once it is written; a terminal has no end of input but the character its user types."""
        if self._terminal:
            return
        self._input_ended = True
        self._write_input()

    def _write_input(self) -> None:
        if self._stdin is None:
            return
        try:
            while self._input:
                del self._input[: os.write(self._stdin, self._input)]
        except BlockingIOError:
            return
        except OSError:
            self._input.clear()  # EPIPE: the process does not want it
            self._input_ended = not self._terminal
        if self._input_ended:
            os.close(self._stdin)
            self._stdin = None

    def _send(self, client: Client, content: bytes) -> None:
        client.outgoing += content
        try:
            while client.outgoing:
                del client.outgoing[: client.connection.send(client.outgoing)]
        except BlockingIOError:
            return
        except OSError:
            client.outgoing.clear()
            self._lose(client)


def _collect(wanted: int) -> int | None:
    """Collect every child that has ended; the wait status of `wanted` if it is one of them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == wanted:
            found = status


def _empty(fd: int) -> None:
    try:
        while os.read(fd, 512):
            pass
    except BlockingIOError:
        pass
