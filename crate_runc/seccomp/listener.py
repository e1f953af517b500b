"""SCMP_ACT_NOTIFY: give the descriptor of notifications to whoever listens at listenerPath (runtime-spec 1.3, config-linux.md "The Container
Process State"; seccomp_unotify(2)).

The filtered process says the number of its descriptor in one write(2), the only call that its filter may not send to the listener, and waits;
the parent takes the descriptor out of it (pidfd_getfd(2)), which needs no call of the filtered process. Answering is the listener's work.
"""

from __future__ import annotations

import os

from crate_runc import strict_json
from crate_runc.errors import RuncError, reason
from crate_runc.kernel import pidfd, unix_socket
from crate_runc.seccomp import flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_runc.process.parent import Init

_KIND = "anon_inode:seccomp notify"
_STATE = ("ociVersion", "id", "status", "pid", "bundle", "annotations")


def of(seccomp: dict[str, Any] | None, state: dict[str, Any]) -> Callable[[Init, int], None] | None:
    """What the parent does with the number that the child says, or None where no call is the listener's. `state`: what hooks read; pid 0 is the
    new process itself."""
    if not seccomp or not flags.notifies(seccomp):
        return None

    def forward(init: Init, number: int) -> None:
        own = {name: state[name] for name in _STATE if name in state}
        own["pid"] = state.get("pid") or init.pid
        _send(seccomp["listenerPath"], _take(init.fd, number), process_state(seccomp, init.pid, own))

    return forward


def process_state(seccomp: dict[str, Any], pid: int, state: dict[str, Any]) -> dict[str, Any]:
    value: dict[str, Any] = {"ociVersion": state["ociVersion"], "fds": ["seccompFd"], "pid": pid}
    if seccomp.get("listenerMetadata"):
        value["metadata"] = seccomp["listenerMetadata"]
    return {**value, "state": state}


def _take(process: int, number: int) -> int:
    try:
        fd = pidfd.take_descriptor(process, number)
    except OSError as error:
        raise RuncError(f"take the seccomp listener from the container's process: {reason(error)}") from None
    if os.readlink(f"/proc/self/fd/{fd}") != _KIND:
        os.close(fd)
        raise RuncError("take the seccomp listener from the container's process: it is something else")
    return fd


def _send(path: str, fd: int, value: dict[str, Any]) -> None:
    """The descriptor is closed, and the connection is for this one message, as the spec demands."""
    try:
        socket = unix_socket.connect(path)
        try:
            text = strict_json.dumps(value)
            sent = unix_socket.send_descriptor(socket, text, fd)
            if sent < len(text):
                socket.sendall(text[sent:])
        finally:
            socket.close()
    except OSError as error:
        raise RuncError(f"send the seccomp listener to linux.seccomp.listenerPath {path}: {reason(error)}") from None
    finally:
        os.close(fd)
