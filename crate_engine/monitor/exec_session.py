"""The life of one `exec`: join the container's user namespace, let the runtime start the process, copy its streams, tell its exit status.

A process of its own rather than the container's monitor: so it works in the same way when that was killed.
"""

from __future__ import annotations

import marshal
import os

from crate_engine.errors import ContainerNotRunning, CrateError
from crate_engine.jsontext import dumps
from crate_engine.monitor import protocol, stage, terminal
from crate_engine.monitor.process import tell_failure
from crate_engine.monitor.relay import Client, Relay
from crate_engine.monitor.streams import Streams, call_runtime, described
from crate_engine.runtime.command import Runtime
from crate_engine.store import durable
from crate_engine.system import process, userns
from crate_engine.system.builtin import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ExecSession:
    """`instructions` are those of execution.py's `execute`."""

    def __init__(self, instructions: dict[str, Any], control: socket.socket, wake: int) -> None:
        self._order = instructions
        self._control = control
        self._wake = wake
        self._runtime = Runtime.from_record(instructions["runtime"])
        self._directory = f"{instructions['run']}/exec-{os.urandom(6).hex()}"
        self._streams = Streams(terminal=instructions["terminal"], interactive=instructions["interactive"])

    def run(self) -> None:
        try:
            self._join()
            pid = self._launch()
        except Exception as error:
            tell_failure(self._control, error if isinstance(error, CrateError) else described("exec", error))
            return
        finally:
            durable.remove_tree(self._directory)
        streams = self._streams
        relay = Relay(self._wake, streams.outputs, streams.stdin, terminal=self._order["terminal"], log=None)
        started = protocol.frame(protocol.STARTED, marshal.dumps((pid, process.start_time(pid) or 0)))
        try:
            self._control.sendall(started)
            if self._order["attach"]:
                relay.add(Client(self._control, attached=True))
            else:
                self._control.close()
        except OSError:
            self._control.close()
        status = os.waitstatus_to_exitcode(relay.serve(pid))
        relay.announce(protocol.frame(protocol.EXITED, str(status if status >= 0 else 128 - status).encode()))
        relay.finish()

    def _join(self) -> None:
        """Into the container's user namespace, and a mount namespace of our own there: the runtime's interpreter is sealed in it."""
        pid, start_time = self._order["init"]
        self._root = stage.open_root(f"/proc/{pid}/root")
        if process.start_time(pid) != start_time:
            raise ContainerNotRunning("exec: container not running")
        userns.join(pid)
        process.unshare(process.CLONE_NEWNS)
        os.mkdir(self._directory, 0o700)

    def _launch(self) -> int:
        wanted = self._order["process"]
        stage.complete_process(self._root, wanted, self._order["user"], can_set_groups=userns.setgroups_allowed())
        os.close(self._root)
        paths = {name: f"{self._directory}/{name}" for name in ("process.json", "pid", "runtime.log")}
        with open(paths["process.json"], "xb") as file:
            file.write(dumps(wanted).encode())
        console = terminal.ConsoleSocket(self._directory) if self._order["terminal"] else None
        arguments = self._runtime.exec_detached(
            self._order["id"],
            log=paths["runtime.log"],
            process=paths["process.json"],
            pid_file=paths["pid"],
            console_socket=console.path if console else None,
        )
        try:
            call_runtime(self._runtime, arguments, self._streams.for_child(), paths["runtime.log"], self._streams)
            if console:
                self._streams.use_terminal(console.receive(), wanted.get("consoleSize"))
        finally:
            if console:
                console.close()
        self._streams.close_childs_ends()
        with open(paths["pid"], encoding="ascii") as file:
            return int(file.read())
