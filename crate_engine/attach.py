"""The engine's end of a monitor's socket: the caller's terminal and standard streams joined to a container's (termios(3), tty_ioctl(4)).

The terminal is put back on every way out. Nothing is printed but what the container wrote.
"""

from __future__ import annotations

import fcntl
import marshal
import os
import select
import signal
import socket
import struct
import termios

from crate_engine.errors import ContainerNotRunning, CrateError, RuntimeFailed
from crate_engine.monitor import protocol
from crate_engine.monitor.protocol import frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_CHUNK = 32 << 10
_WAITING = 256 << 10
_PROXIED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


class Attachment:
    """One connection to a monitor. Closes its socket at the end of `join`, or by `close`."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._frames = protocol.Frames(protocol.INSTRUCTIONS_FRAME)
        self._received: list[tuple[bytes, bytes]] = []
        self._process = 0
        self._pidfd = -1

    def wait_started(self) -> int:
        """The pid of the process, which runs now. Raises RuntimeFailed or another CrateError with what prevented it."""
        kind, payload = self._next()
        if kind == protocol.STARTED:
            self._process, _ = marshal.loads(payload)
            try:
                self._pidfd = os.pidfd_open(self._process)
            except ProcessLookupError:
                pass  # it has ended already
            return self._process
        if kind == protocol.FAILED:
            code, text, hint = marshal.loads(payload)
            raise RuntimeFailed(text, exit_code=code, hint=hint)
        raise CrateError("start the container: its monitor ended without a word")

    def subscribe(self) -> None:
        """Ask for the output from now on."""
        self._socket.sendall(frame(protocol.ATTACH))

    def wait_exited(self) -> int:
        """The exit status; output frames are passed over."""
        while True:
            kind, payload = self._next()
            if kind == protocol.EXITED:
                return int(payload)
            if not kind:
                raise ContainerNotRunning("wait for the container: its monitor was killed, and the exit status is lost")

    def wait_closed(self) -> None:
        """Until the monitor has nothing left to do."""
        while self._next()[0]:
            pass

    def join(self, *, terminal: bool, interactive: bool, pid: int = 0, streams: tuple[int, int, int] = (0, 1, 2)) -> int:
        """Copy until the process has ended; returns its exit status. `pid` when it was not this connection that started the process.

        Signals sent to the caller go to the process, unless it has a terminal: then they come from there. Call it in the main thread.
        """
        if pid and self._pidfd < 0:
            self._pidfd = os.pidfd_open(pid)
        raw = terminal and interactive and os.isatty(streams[0])
        with _Signals() as signals:
            if terminal and os.isatty(streams[1]):
                signals.watch(signal.SIGWINCH)
                self._send_window(streams[1])
            if not raw:
                for number in _PROXIED:
                    signals.watch(number)
            saved = termios.tcgetattr(streams[0]) if raw else None
            try:
                if raw:
                    for number in (signal.SIGTERM, signal.SIGHUP):
                        signals.watch(number)
                    _make_raw(streams[0])
                return self._copy(streams, signals, interactive=interactive, terminal=terminal)
            finally:
                if saved is not None:
                    termios.tcsetattr(streams[0], termios.TCSADRAIN, saved)
                self.close()

    def close(self) -> None:
        self._socket.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _copy(self, streams: tuple[int, int, int], signals: _Signals, *, interactive: bool, terminal: bool) -> int:
        outgoing = bytearray()
        reading = interactive
        self._socket.setblocking(False)
        while True:
            for kind, payload in self._taken():
                if kind == protocol.EXITED:
                    return int(payload)
                _write(streams[1] if kind == protocol.STDOUT else streams[2], payload)
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if outgoing else 0))
            poll.register(signals.fd, select.POLLIN)
            if reading and len(outgoing) < _WAITING:
                poll.register(streams[0], select.POLLIN)
            ready = dict(poll.poll())
            if signals.fd in ready:
                outgoing += self._heed(signals, streams)
            if ready.get(self._socket.fileno(), 0) & ~select.POLLOUT and not self._receive():
                raise ContainerNotRunning("follow the container: its monitor was killed, and the exit status is lost")
            if streams[0] in ready and reading:
                chunk = _read(streams[0])
                reading = bool(chunk)
                outgoing += frame(protocol.STDIN, chunk) if chunk else frame(protocol.STDIN_END)
            self._send_some(outgoing)

    def _heed(self, signals: _Signals, streams: tuple[int, int, int]) -> bytes:
        """The frames that arrived signals lead to; those for the process are sent at once."""
        frames = b""
        for number in signals.arrived():
            if number == signal.SIGWINCH:
                frames = _window_frame(streams[1])
            elif self._pidfd >= 0:
                try:
                    signal.pidfd_send_signal(self._pidfd, number)
                except (ProcessLookupError, PermissionError):
                    pass
        return frames

    def _send_window(self, terminal: int) -> None:
        self._socket.sendall(_window_frame(terminal))

    def _send_some(self, outgoing: bytearray) -> None:
        try:
            while outgoing:
                del outgoing[: self._socket.send(outgoing)]
        except BlockingIOError:
            pass
        except OSError:
            outgoing.clear()  # the monitor is at its end; its last frames are still to be read

    def _receive(self) -> bool:
        """False at the end of the connection."""
        try:
            received = self._socket.recv(_CHUNK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._received += self._frames.feed(received)
        return bool(received)

    def _taken(self) -> list[tuple[bytes, bytes]]:
        taken, self._received = self._received, []
        return taken

    def _next(self) -> tuple[bytes, bytes]:
        while not self._received:
            if not self._receive():
                return b"", b""
        return self._received.pop(0)


def connect(directory: str) -> Attachment | None:
    """To the monitor whose run directory this is. None: it is not there, or at its end."""
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            endpoint.connect(f"/proc/self/fd/{fd}/attach")  # the address of a unix socket is short, the path may not be
        finally:
            os.close(fd)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        endpoint.close()
        return None
    return Attachment(endpoint)


class _Signals:
    """Signals as readable bytes, within a `with`; the former actions come back at its end."""

    def __enter__(self) -> _Signals:
        self.fd, self._writable = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._writable, False)
        self._former: dict[int, object] = {}
        self._former_wakeup = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)
        return self

    def watch(self, number: int) -> None:
        if number not in self._former:
            self._former[number] = signal.signal(number, _nothing)

    def arrived(self) -> list[int]:
        try:
            return list(os.read(self.fd, 512))
        except BlockingIOError:
            return []

    def __exit__(self, *_: object) -> None:
        for number, action in self._former.items():
            signal.signal(number, action)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._former_wakeup)
        os.close(self.fd)
        os.close(self._writable)


def _nothing(number: int, frame: FrameType | None) -> None:
    """The wake-up fd tells of it."""


def _make_raw(terminal: int) -> None:
    """cfmakeraw(3): every key goes to the container's terminal, which does the echoing and the editing."""
    attributes = termios.tcgetattr(terminal)
    attributes[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    attributes[1] &= ~termios.OPOST
    attributes[2] = attributes[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    attributes[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(terminal, termios.TCSADRAIN, attributes)


def window(terminal: int) -> tuple[int, int] | None:
    """Rows and columns, or None where the fd is no terminal or does not know."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


def _window_frame(terminal: int) -> bytes:
    size = window(terminal)
    return frame(protocol.WINDOW, size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")) if size else b""


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:
        return b""


def _write(fd: int, content: bytes) -> None:
    """All of it, also to a pipe that was made non-blocking by whoever shares it. Raises BrokenPipeError like any program's print."""
    while content:
        try:
            content = content[os.write(fd, content) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
