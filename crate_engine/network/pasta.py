"""pasta(1), the user-mode network of private containers: found by the engine, started and ended by the monitor.

Known of Debian 12's pasta: a UDP port that is published under another number answers other machines, but not the host's own loopback.
"""

from __future__ import annotations

import os

from crate_engine.errors import NetworkError, PortInUse
from crate_engine.system.builtin import signal

_PATHS = ("/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin", "/usr/local/sbin")
_TUN = "/dev/net/tun"


def find() -> str:
    """The program, where it can do its work. Raises NetworkError with what is in its way."""
    if os.path.exists(_TUN) and not os.access(_TUN, os.R_OK | os.W_OK):
        blocked = NetworkError(
            f"{_TUN} cannot be opened", hint=f"as root: chmod 0666 {_TUN}; or use --network host or --network none"
        )
    else:
        blocked = None
    for directory in (*os.environ.get("PATH", "").split(":"), *_PATHS):
        path = f"{directory}/pasta"
        if directory.startswith("/") and os.access(path, os.X_OK):
            if blocked:
                raise blocked
            return path
    raise NetworkError("pasta is not installed", hint="install pasta (package passt), or use --network host or --network none")


class Pasta:
    """One running pasta. `start` begins, `wait_ready` ends the start; in between the caller does other things."""

    def __init__(self, arguments: list[str], pid_file: str) -> None:
        self._arguments = arguments
        self._pid_file = pid_file
        self._starter = 0
        self._said = -1
        self._pidfd = -1
        self.pid = 0

    def start(self) -> None:
        receive, send = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, send, 1), (os.POSIX_SPAWN_DUP2, send, 2)]
        # pasta takes an ignored SIGPIPE, which Python processes have, for an error of signal(2).
        self._starter = os.posix_spawn(
            self._arguments[0], self._arguments, {"PATH": "/usr/bin:/bin"}, file_actions=actions, setsigdef=[signal.SIGPIPE]
        )
        os.close(send)
        self._said = receive

    def wait_ready(self) -> None:
        """pasta goes to the background once the namespace is connected and the ports are bound. Raises NetworkError with what it said."""
        # Not to the end of the pipe: the process in the background may keep its standard error open.
        status = os.waitstatus_to_exitcode(os.waitpid(self._starter, 0)[1])
        self._starter = 0
        os.set_blocking(self._said, False)
        try:
            said = os.read(self._said, 4096).decode("utf-8", "replace")
        except BlockingIOError:
            said = ""
        os.close(self._said)
        if status:
            raise _failed(status, said)
        with open(self._pid_file, encoding="ascii") as file:
            self.pid = int(file.read())
        self._pidfd = os.pidfd_open(self.pid)

    def stop(self) -> None:
        """End it, whether it is ready or still starting. The calling process is the subreaper that collects it."""
        if self._starter:
            os.kill(self._starter, signal.SIGKILL)
            os.waitpid(self._starter, 0)
            self._starter = 0
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
            os.close(self._pidfd)
            self._pidfd = -1


def _failed(status: int, said: str) -> NetworkError:
    lines = [line.strip() for line in said.splitlines() if line.strip() and "syslog" not in line]
    text = lines[-1] if lines else f"exit status {status}"
    if "bind" in said.lower() or "in use" in said.lower():
        return PortInUse(
            f"start the network: pasta: {text}", hint="choose another host port, or stop what uses it (ss -lntup shows it)"
        )
    return NetworkError(f"start the network: pasta: {text}")
