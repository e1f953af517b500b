"""Wait for a container in the foreground: forward signals, carry its terminal, collect it (signalfd(2), pidfd_open(2)).

The caller's terminal is restored on every way out; stdin that ends is passed on as the terminal's end of file, not as a hang-up.
"""

from __future__ import annotations

import os
import select

from crate_runc.kernel import pidfd, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.process.entrant import Entrant
    from crate_runc.process.notify_socket import Relay
    from crate_runc.process.parent import Init as OfCreate

    Init = OfCreate | Entrant

_NOT_FORWARDED = frozenset(
    {signals.SIGCHLD, signals.SIGKILL, signals.SIGSTOP, signals.SIGPIPE, signals.SIGWINCH, 23}
)  # 23: SIGURG
_OWN_FAULTS = frozenset({4, 5, 7, 8, 11})  # SIGILL SIGTRAP SIGBUS SIGFPE SIGSEGV: about this process, if they come
_CHUNK = 32 << 10


def wait(init: Init, relay: Relay | None = None) -> int:
    """The exit status as a shell has it. The pidfd and the terminal stay open. relay: of a container that tells when it is ready; this
    process, which waits, then is the service's main process."""
    forwarded = set(range(1, signals.LAST + 1)) - _NOT_FORWARDED - _OWN_FAULTS - {32, 33}
    source = pidfd.open_signals(forwarded | {signals.SIGWINCH})
    carrier = _Carrier(init.terminal) if init.terminal >= 0 else None
    try:
        if carrier:
            carrier.begin()
        _loop(init, source, carrier, relay)
        if carrier:
            carrier.drain()
    finally:
        if carrier:
            carrier.end()
        os.close(source)
    code = os.waitstatus_to_exitcode(os.waitpid(init.pid, 0)[1])
    return code if code >= 0 else 128 - code


def _loop(init: Init, source: int, carrier: _Carrier | None, relay: Relay | None) -> None:
    poll = select.poll()
    poll.register(init.fd, select.POLLIN)
    poll.register(source, select.POLLIN)
    if carrier:
        carrier.register(poll)
    if relay:
        poll.register(relay, select.POLLIN)
    while True:
        events = dict(poll.poll())
        if relay and relay.fileno() in events and relay.forward(os.getpid()):
            poll.unregister(relay)
            relay.close()
            relay = None
        if carrier:
            carrier.carry(events, poll)
        if source in events:
            _forward(init, source, carrier)
        if init.fd in events:
            return


def _forward(init: Init, source: int, carrier: _Carrier | None) -> None:
    records = os.read(source, 16 * pidfd.SIGNAL_RECORD)
    for at in range(0, len(records), pidfd.SIGNAL_RECORD):
        number = int.from_bytes(records[at : at + 4], "little")
        if number == signals.SIGWINCH:
            if carrier:
                carrier.resize()
        else:
            try:
                pidfd.send_signal(init.fd, number)
            except ProcessLookupError:
                return


class _Carrier:
    """Bytes between the caller's stdin and stdout and the master of the container's terminal."""

    __slots__ = ("_before", "_input_open", "_master", "_pending")

    def __init__(self, master: int) -> None:
        self._master = master
        self._before: list[object] | None = None
        self._input_open = True
        self._pending = b""

    def begin(self) -> None:
        os.set_blocking(self._master, False)
        if os.isatty(0):
            from crate_runc.kernel import terminal

            self.resize()
            self._before = terminal.make_raw(0)

    def end(self) -> None:
        if self._before is not None:
            from crate_runc.kernel import terminal

            terminal.restore(0, self._before)
            self._before = None

    def resize(self) -> None:
        from crate_runc.kernel import terminal

        try:
            terminal.copy_size(0, self._master)
        except OSError:
            return  # stdin is no terminal

    def register(self, poll: select.poll) -> None:
        poll.register(self._master, select.POLLIN)
        poll.register(0, select.POLLIN)

    def carry(self, events: dict[int, int], poll: select.poll) -> None:
        if self._master in events:
            self._output(poll, events[self._master])
        if 0 in events and self._input_open and not self._pending:
            self._pending = self._read_input(poll)
        if self._pending:
            self._input(poll)

    def drain(self) -> None:
        """What the container wrote before it ended."""
        while part := _read(self._master):
            _write_all(1, part)

    def _output(self, poll: select.poll, event: int) -> None:
        part = _read(self._master)
        if part:
            _write_all(1, part)
        elif event & select.POLLHUP:  # the last process closed its terminal; the end of init follows
            try:
                poll.unregister(self._master)
            except KeyError:
                pass

    def _read_input(self, poll: select.poll) -> bytes:
        try:
            part = os.read(0, _CHUNK)
        except OSError:
            part = b""
        if not part:
            self._input_open = False
            poll.unregister(0)
            return b"\x04"  # VEOF, as the line discipline of the container's terminal is in its usual mode
        return part

    def _input(self, poll: select.poll) -> None:
        try:
            self._pending = self._pending[os.write(self._master, self._pending) :]
        except BlockingIOError:
            pass
        except OSError:
            self._pending = b""
        poll.modify(self._master, select.POLLIN | (select.POLLOUT if self._pending else 0))
        if self._input_open:
            poll.register(0, 0 if self._pending else select.POLLIN)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError:  # EAGAIN: nothing there; EIO: no process has the terminal open
        return b""


def _write_all(fd: int, text: bytes) -> None:
    while text:
        try:
            text = text[os.write(fd, text) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError:
            return
