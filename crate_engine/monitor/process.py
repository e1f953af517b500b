"""The monitor as a process: what it is before it has instructions, and how signals and children reach it (prctl(2), setsid(2), wait(2))."""

from __future__ import annotations

import marshal
import os

from crate_engine.errors import CrateError
from crate_engine.monitor import protocol
from crate_engine.system import mount, process, userns
from crate_engine.system.builtin import signal, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CONTROL = 3
_CATCHABLE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_RESET = (signal.SIGPIPE, signal.SIGXFSZ)


def main(kind: str) -> None:
    """Run one monitor of the kind `container` or `exec` until its container or process is gone."""
    os.closerange(_CONTROL + 1, 1 << 20)
    os.umask(0o022)
    os.chdir("/")
    wake = watch_children()
    process.set_subreaper()
    control = socket.socket(fileno=_CONTROL)
    control.setblocking(True)
    os.set_inheritable(_CONTROL, False)
    if kind == "container":
        _container(control, wake)
    else:
        _exec(control, wake)


def _container(control: socket.socket, wake: int) -> None:
    failure = None
    namespace = None
    try:
        namespace = userns.choose()
        userns.enter(namespace, process.CLONE_NEWNS)
        mount.make_private()
    except CrateError as error:
        failure = error
    except OSError as error:
        failure = CrateError(f"make a mount namespace: {error.strerror}")
    from crate_engine.monitor.session import ContainerSession

    instructions = receive_instructions(control)
    if instructions is None:
        return
    if failure or namespace is None:
        tell_failure(control, failure or CrateError("make namespaces: unknown cause"))
        return
    ContainerSession(instructions, control, wake, namespace).run()


def _exec(control: socket.socket, wake: int) -> None:
    from crate_engine.monitor.exec_session import ExecSession

    instructions = receive_instructions(control)
    if instructions is not None:
        ExecSession(instructions, control, wake).run()


def receive_instructions(control: socket.socket) -> dict[str, Any] | None:
    """Block until the engine has said what to do. None: it went away without."""
    frames = protocol.Frames(protocol.INSTRUCTIONS_FRAME)
    while received := control.recv(1 << 16):
        for kind, payload in frames.feed(received):
            if kind == protocol.INSTRUCTIONS:
                instructions: dict[str, Any] = marshal.loads(payload)
                return instructions
    return None


def tell_failure(control: socket.socket, error: CrateError) -> None:
    try:
        control.setblocking(True)
        control.sendall(protocol.frame(protocol.FAILED, marshal.dumps((error.exit_code, str(error), error.hint))))
    except OSError:
        pass  # whoever asked is gone


def watch_children() -> int:
    """Returns an fd that becomes readable when a child ended. Handlers rather than SIG_IGN, which programs started here would inherit."""
    readable, writable = os.pipe()
    os.set_blocking(readable, False)
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, *_CATCHABLE):
        signal.signal(number, _nothing)
    return readable


def _nothing(number: int, frame: object) -> None:
    """A monitor outlives the terminal and the session it was started from; it ends when its container does."""


def reset_signals() -> None:
    """In a forked child, before exec: Python ignores these two, and ignored signals would reach the container's process."""
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
