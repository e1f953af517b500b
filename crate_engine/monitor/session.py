"""The life of one container, from its root to its exit record: the order of what its monitor does.

    stage      overlay, network namespace, user and config.json; pasta starts meanwhile
    launch     the runtime's create and start (in one call where nothing is to happen in between)
    serve      standard streams, log, clients, until the process ends
    conclude   pasta, mounts, exit.json or removal; the clients are told; the runtime has deleted its state

Whatever fails before the process runs is undone and told as one error.
"""

from __future__ import annotations

import marshal
import os
import time

from crate_engine.errors import CrateError, StoreError
from crate_engine.jsontext import dumps
from crate_engine.monitor import protocol, records, stage, terminal
from crate_engine.monitor.log import LogWriter
from crate_engine.monitor.process import tell_failure
from crate_engine.monitor.relay import Client, Relay
from crate_engine.monitor.streams import Streams, call_runtime, described
from crate_engine.network.pasta import Pasta
from crate_engine.runtime import client as runtime_client
from crate_engine.runtime.command import Runtime
from crate_engine.store import durable
from crate_engine.system import mount
from crate_engine.system.builtin import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_engine.system.userns import UserNamespace

_SOCKET = "attach"


class ContainerSession:
    """One per monitor. `instructions` are those of engine.py's `_instructions`."""

    def __init__(self, instructions: dict[str, Any], control: socket.socket, wake: int, namespace: UserNamespace) -> None:
        self._order = instructions
        self._id: str = instructions["id"]
        self._container: str = instructions["container"]
        self._run: str = instructions["run"]
        self._config: dict[str, Any] = instructions["config"]
        self._runtime = Runtime.from_record(instructions["runtime"])
        self._control = control
        self._wake = wake
        self._namespace = namespace
        self._log_path = f"{self._run}/runtime.log"
        self._pasta: Pasta | None = None
        self._created = False
        self._streams = Streams(terminal=instructions["terminal"], interactive=instructions["interactive"])
        self._started = 0

    def run(self) -> None:
        """Returns when the container is gone and everyone was told."""
        try:
            self._stage()
            init = self._launch()
        except Exception as error:
            self._fail(error)
            return
        relay = Relay(self._wake, self._streams.outputs, self._streams.stdin, terminal=self._order["terminal"], log=self._log)
        relay.listen(self._listener, terminal.same_user)
        self._tell_started(init, relay)
        status = os.waitstatus_to_exitcode(relay.serve(init))
        code = status if status >= 0 else 128 - status
        self._conclude(code, relay)
        relay.finish()

    def _stage(self) -> None:
        records.write_state(self._run, "starting")
        for stale in (f"{self._container}/exit.json", self._log_path):
            _unlink(stale)
        if self._order["own_network"]:
            stage.make_network_namespace(f"{self._container}/netns")
        if self._order["pasta"]:
            self._pasta = Pasta(self._order["pasta"], f"{self._run}/pasta.pid")
            self._pasta.start()
        stage.mount_root(self._container, self._order["snapshot"], user_xattr=self._namespace.mode != "root")
        root = stage.open_root(f"{self._container}/rootfs")
        try:
            process = self._config["process"]
            stage.complete_process(root, process, self._order["user"], can_set_groups=self._namespace.mode != "single")
            stage.make_directory(root, process["cwd"])
            stage.make_mount_points(root, self._order["mount_points"])
        finally:
            os.close(root)
        self._write_config()
        self._log = LogWriter(f"{self._container}/container.log")
        self._listener = terminal.listen(self._run, _SOCKET)

    def _write_config(self) -> None:
        path = f"{self._container}/config.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            durable.write_all(fd, dumps(self._config).encode())
        finally:
            os.close(fd)

    def _launch(self) -> int:
        """Returns the pid of the container's process, which runs."""
        pid_file = f"{self._run}/init.pid"
        _unlink(pid_file)
        console = terminal.ConsoleSocket(self._run) if self._order["terminal"] else None
        common: dict[str, Any] = {
            "log": self._log_path,
            "bundle": self._container,
            "pid_file": pid_file,
            "console_socket": console.path if console else None,
        }
        try:
            self._created = True
            if self._pasta is None:
                self._call(self._runtime.run_detached(self._id, **common), self._streams.for_child())
            else:
                self._call(self._runtime.create(self._id, **common), self._streams.for_child())
                self._pasta.wait_ready()
                self._call(self._runtime.start(self._id, log=self._log_path), self._streams.only_errors())
            if console:
                self._streams.use_terminal(console.receive(), self._config["process"].get("consoleSize"))
        finally:
            if console:
                console.close()
        self._streams.close_childs_ends()
        with open(pid_file, encoding="ascii") as file:
            return int(file.read())

    def _call(self, arguments: list[str], stdio: tuple[int, int, int]) -> None:
        call_runtime(self._runtime, arguments, stdio, self._log_path, self._streams)

    def _tell_started(self, init: int, relay: Relay) -> None:
        self._started = time.time_ns()
        identity = records.identity(init)
        records.write_start(self._container, self._started)
        pasta = records.identity(self._pasta.pid) if self._pasta else None
        records.write_state(self._run, "running", init=identity, pasta=pasta, ports=self._order["ports"], started=self._started)
        started = protocol.frame(protocol.STARTED, marshal.dumps((init, identity["start_time"])))
        try:
            self._control.sendall(started)
        except OSError:
            self._control.close()
            return
        if self._order["attach"]:
            relay.add(Client(self._control, attached=True))
        else:
            self._control.close()

    def _conclude(self, code: int, relay: Relay) -> None:
        """The runtime takes longest to delete what it knows: it starts first, and whoever waits for the exit status does not wait for it."""
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        deletion = runtime_client.spawn(self._runtime, self._runtime.delete(self._id, force=True), (null, null, null))
        try:
            if self._pasta:
                self._pasta.stop()
            self._unmount()
            if self._order["remove"]:
                self._remove()
            else:
                records.write_exit(self._container, records.exit_record(code, self._started))
        except Exception as error:
            _note(self._run, error)
        relay.announce(protocol.frame(protocol.EXITED, str(code).encode()))
        os.waitpid(deletion, 0)
        durable.remove_tree(self._run)

    def _remove(self) -> None:
        """`--rm`: out of the store first, in one step, then the name, then the files. A crash of the host may undo it: the record, which is
        not durable either, then shows it as exited."""
        moved = f"{self._order['trash']}/{os.urandom(8).hex()}"
        try:
            os.rename(self._container, moved)
        except FileNotFoundError:
            return  # another command removed it
        name = self._order["name_link"]
        try:
            if os.readlink(name) == self._id:
                os.unlink(name)
        except OSError:
            pass
        durable.remove_tree(moved)

    def _unmount(self) -> None:
        for target in ("rootfs", "netns"):
            try:
                mount.umount(f"{self._container}/{target}")
            except OSError:
                pass  # a copied root, a container without a network of its own: nothing was mounted

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, CrateError):
            error = described("start the container", error)
        if self._pasta:
            self._pasta.stop()
        if self._created:
            runtime_client.run_quietly(self._runtime, self._runtime.delete(self._id, force=True))
        self._unmount()
        try:
            records.write_exit(self._container, records.exit_record(error.exit_code, 0, error=str(error)))
        except StoreError:
            pass  # the disk is full or the container was removed meanwhile; the error itself is told below
        durable.remove_tree(self._run)
        tell_failure(self._control, error)


def _note(run: str, error: Exception) -> None:
    """A monitor has no terminal: what goes wrong after the start is left in its run directory."""
    try:
        with open(f"{run}/monitor.log", "a", encoding="utf-8") as file:
            file.write(f"{type(error).__name__}: {error}\n")
    except OSError:
        pass


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
