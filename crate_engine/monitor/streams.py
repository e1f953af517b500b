"""The standard streams of a container's or exec's process as its monitor holds them, and the runtime call that hands them over."""

from __future__ import annotations

import os

from crate_engine.errors import CrateError, RuntimeFailed
from crate_engine.monitor import protocol
from crate_engine.monitor.terminal import set_window
from crate_engine.runtime import client as runtime_client
from crate_engine.runtime.command import Runtime


class Streams:
    """The container's standard streams: what its process gets, and our ends of it."""

    def __init__(self, *, terminal: bool, interactive: bool) -> None:
        """With a terminal only the runtime's own standard error is a pipe; the terminal comes from the runtime later."""
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.stdin: int | None = None
        self.outputs: dict[int, bytes] = {}
        self._errors, err = os.pipe()
        if terminal:
            self._child = (self._null, self._null, err)
            self._terminal = True
            return
        self._terminal = False
        out, child_out = os.pipe()
        self.outputs = {out: protocol.STDOUT, self._errors: protocol.STDERR}
        child_in = self._null
        if interactive:
            child_in, self.stdin = os.pipe()
        self._child = (child_in, child_out, err)

    def for_child(self) -> tuple[int, int, int]:
        return self._child

    def only_errors(self) -> tuple[int, int, int]:
        return (self._null, self._null, self._child[2])

    def said(self) -> bytes:
        """What a failed runtime wrote to standard error."""
        os.set_blocking(self._errors, False)
        try:
            return os.read(self._errors, 64 << 10)
        except BlockingIOError:
            return b""

    def use_terminal(self, master: int, size: dict[str, int] | None) -> None:
        """`size` is the `consoleSize` of the process: a runtime may have left it to us."""
        if size:
            set_window(master, size["height"], size["width"])
        os.close(self._errors)
        self.stdin = master
        self.outputs = {master: protocol.STDOUT}

    def close_childs_ends(self) -> None:
        for fd in {self._null, *self._child}:
            os.close(fd)


def call_runtime(runtime: Runtime, arguments: list[str], stdio: tuple[int, int, int], log: str, streams: Streams) -> None:
    """Raises RuntimeFailed with what the runtime said in its log, or on standard error."""
    pid = runtime_client.spawn(runtime, arguments, stdio)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise runtime_client.failure(runtime, status, log, streams.said())


def described(action: str, error: Exception) -> CrateError:
    if isinstance(error, OSError):
        return CrateError(f"{action}: {error.filename or 'monitor'}: {error.strerror}")
    return RuntimeFailed(f"{action}: {type(error).__name__}: {error}")
