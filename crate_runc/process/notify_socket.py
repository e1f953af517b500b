"""NOTIFY_SOCKET: a container that tells the caller's service manager that it is ready (sd_notify(3)), as runc does it.

`<state>/notify` is bound on /run/notify in the container. Whoever starts the container listens at notify.sock in it, and passes `READY=1` on to
the socket of NOTIFY_SOCKET, with `MAINPID=` and a barrier. Nothing else is passed on: a container must not speak for the service in other ways.
`create` decides whether a container has this; `start` listens where it finds the directory.
"""

from __future__ import annotations

import os
import select

from crate_runc.errors import RuncError, reason
from crate_runc.kernel import unix_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

VARIABLE = "NOTIFY_SOCKET"
NAME = "notify"
_SOCKET = "notify.sock"
INSIDE = "/run/notify"
_MESSAGE_BYTES = 4096
_BARRIER_SECONDS = 30.0


def add_to(config: dict[str, Any], directory: str) -> dict[str, Any]:
    """The configuration with the mount of `<directory>/notify` and the variable for the program. Pure."""
    mount = {
        "destination": INSIDE,
        "type": "bind",
        "source": f"{directory}/{NAME}",
        "options": ["bind", "nosuid", "noexec", "nodev", "ro"],
    }
    process = config["process"]
    variables = [*process.get("env", ()), f"{VARIABLE}={INSIDE}/{_SOCKET}"]
    return {**config, "mounts": [*config.get("mounts", ()), mount], "process": {**process, "env": variables}}


def make_directory(directory: str) -> None:
    """`<directory>/notify`, which the container sees."""
    os.mkdir(f"{directory}/{NAME}", 0o755)


class Relay:
    """Listens at the container's socket; `host` is the address that NOTIFY_SOCKET names. `close` ends it."""

    __slots__ = ("_host", "_socket")

    def __init__(self, directory: str, host: str) -> None:
        """Raises RuncError where nobody listens at `host`."""
        path = f"{directory}/{NAME}/{_SOCKET}"
        try:
            self._host = unix_socket.connect(host, unix_socket.DATAGRAM)
        except OSError as error:
            raise RuncError(f"connect to {VARIABLE} {host}: {reason(error)}") from None
        self._socket: _socket.socket = unix_socket.bind_datagram(path)
        os.chmod(path, 0o777)  # the program may be any user

    def fileno(self) -> int:
        return self._socket.fileno()

    def wait(self, process: int, pid: int) -> None:
        """Until the container has said that it is ready, or its first process (a pidfd) has ended; `pid` becomes the service's main process."""
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        while True:
            events = dict(poll.poll())
            if self._socket.fileno() in events and self.forward(pid):
                return
            if process in events:
                return

    def forward(self, pid: int) -> bool:
        """Read one message; True when it said that the container is ready, which the host has then been told."""
        try:
            message = self._socket.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return False
        ready = next((line for line in message.split(b"\n") if line.startswith(b"READY=")), None)
        if ready is None:
            return False
        try:
            self._host.send(ready + b"\n")
            self._host.send(b"MAINPID=%d\n" % pid)
            self._await_barrier()
        except OSError:
            pass  # the service manager is gone: the container runs all the same
        return True

    def _await_barrier(self) -> None:
        """sd_notify_barrier(3): the manager closes the pipe when it has read all that was sent before; else we might be gone before it
        looks up who sent it."""
        reading, writing = os.pipe()
        try:
            unix_socket.send_descriptor(self._host, b"BARRIER=1", writing)
        finally:
            os.close(writing)
        poll = select.poll()
        poll.register(reading, select.POLLIN)
        poll.poll(_BARRIER_SECONDS * 1000)
        os.close(reading)

    def close(self) -> None:
        self._socket.close()
        self._host.close()


def listen(directory: str) -> Relay | None:
    """Where the caller has a NOTIFY_SOCKET and the container was made with one. Raises RuncError."""
    host = os.environ.get(VARIABLE)
    if not host or not os.path.isdir(f"{directory}/{NAME}"):
        return None
    return Relay(directory, host)
