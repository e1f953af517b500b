"""NOTIFY_SOCKET: a container tells the service manager of whoever started it that it is ready (sd_notify(3))."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import rootfs
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

WAITS = "test -S /run/notify/notify.sock && sleep 1000"


class ServiceManager:
    """What systemd is to a service of Type=notify."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o777)
        self.environment = {"NOTIFY_SOCKET": str(path)}

    def hears_of(self, runtime: OciRuntime, pid: int) -> bool:
        """That the service is ready, with this main process; the descriptor that comes with a barrier is closed, as systemd does."""
        expected = ["READY=1\n", f"MAINPID={pid}\n"]
        if not (runtime.name == "runc" and " version 1.1." in runtime.call("--version").out):  # it has no barrier yet
            expected.append("BARRIER=1")
        self.socket.settimeout(20)
        messages = []
        for _ in expected:
            text, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            for fd in fds:
                os.close(fd)
            messages.append(text.decode())
        return messages == expected

    def silent(self) -> bool:
        return not select.select([self.socket], [], [], 0)[0]


@pytest.fixture
def manager(runtime: OciRuntime) -> Iterator[ServiceManager]:
    made = ServiceManager(runtime.directory / "manager.sock")
    yield made
    made.socket.close()


def say(pid: int, message: bytes) -> None:
    """As a process in the container would, through the socket at the place where the container sees it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message, f"/proc/{pid}/root/run/notify/notify.sock")


def test_start_waits_until_the_container_is_ready_and_names_its_process(
    runtime: OciRuntime, bundle: Bundle, manager: ServiceManager
) -> None:
    identity = runtime.create(bundle.script(WAITS), env=manager.environment)
    pid = runtime.pid(identity)
    waiting = runtime.account.popen(runtime.command("start", identity), env=manager.environment)
    eventually(lambda: runtime.status(identity) == "running", "it runs")
    say(pid, b"STATUS=still loading")
    assert manager.silent()
    assert waiting.poll() is None
    say(pid, b"READY=1")
    assert manager.hears_of(runtime, pid)
    assert waiting.wait(20) == 0
    assert runtime.status(identity) == "running"


def test_start_ends_with_a_container_that_never_says_so(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    identity = runtime.create(bundle.runs("/bin/true"), env=manager.environment)
    runtime.call("start", identity, env=manager.environment)
    runtime.wait_stopped(identity)
    assert manager.silent()


def test_run_in_the_foreground_is_itself_the_main_process(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    identity = runtime.identity()
    waiting = runtime.account.popen(
        runtime.command("run", "--bundle", str(bundle.script(WAITS).write()), identity), env=manager.environment
    )
    eventually(lambda: (runtime.root / identity / "notify/notify.sock").exists(), "it listens")
    eventually(lambda: runtime.call("state", identity, status=None).status == 0, "it is there")
    eventually(lambda: runtime.status(identity) == "running", "it runs")
    say(runtime.pid(identity), b"READY=1\n")
    assert manager.hears_of(runtime, waiting.pid)
    runtime.call("kill", identity, "KILL")
    assert waiting.wait(20) == 128 + 9


def test_run_detached_waits_until_the_container_is_ready(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    identity = runtime.identity()
    waiting = runtime.account.popen(
        runtime.command("run", "--detach", "--bundle", str(bundle.script(WAITS).write()), identity),
        env=manager.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    eventually(lambda: (runtime.root / identity / "notify/notify.sock").exists(), "it listens")
    eventually(lambda: runtime.call("state", identity, status=None).status == 0, "it is there")
    eventually(lambda: runtime.status(identity) == "running", "it runs")
    pid = runtime.pid(identity)
    say(pid, b"READY=1\n")
    assert manager.hears_of(runtime, pid)
    assert waiting.wait(20) == 0
    runtime.call("kill", identity, "KILL")


def test_the_program_is_told_where_its_socket_is(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    bundle.script('test -S "$NOTIFY_SOCKET" && echo "$NOTIFY_SOCKET" > /dev/shm/it; sleep 1000')
    identity = runtime.create(bundle, env=manager.environment)
    starting = runtime.account.popen(runtime.command("start", identity), env=manager.environment)
    seen = Path(f"/proc/{runtime.pid(identity)}/root/dev/shm/it")
    assert eventually(lambda: seen.exists() and seen.read_text(), "it has looked") == "/run/notify/notify.sock\n"
    runtime.call("kill", identity, "KILL")
    assert starting.wait(20) == 0


def test_the_program_of_any_user_may_speak(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    identity = runtime.create(bundle.script(WAITS), env=manager.environment)
    starting = runtime.account.popen(runtime.command("start", identity), env=manager.environment)
    place = Path(f"/proc/{runtime.pid(identity)}/root/run/notify/notify.sock")
    eventually(place.exists, "it listens")
    assert eventually(lambda: place.stat().st_mode & 0o777 == 0o777, "it is open to all")
    assert place.parent.stat().st_mode & 0o005 == 0o005
    runtime.call("kill", identity, "KILL")
    starting.wait(20)


def test_without_the_variable_a_container_has_no_socket(runtime: OciRuntime, bundle: Bundle) -> None:
    assert runtime.output(bundle.script('ls /run; echo "${NOTIFY_SOCKET-unset}"')) == "unset\n"


def test_a_container_in_a_user_namespace_has_one_too(runtime: OciRuntime, bundle: Bundle, manager: ServiceManager) -> None:
    """Its root is nobody here, and could not go down to where the socket is."""
    identities = [{"containerID": 0, "hostID": 200_000, "size": 1000}]
    bundle.linux.update(uidMappings=identities, gidMappings=identities)
    rootfs.give_to(bundle.rootfs, 200_000, 200_000)
    identity = runtime.create(bundle.namespace("user").script(WAITS), env=manager.environment)
    pid = runtime.pid(identity)
    waiting = runtime.account.popen(runtime.command("start", identity), env=manager.environment)
    eventually(Path(f"/proc/{pid}/root/run/notify/notify.sock").exists, "it listens")
    say(pid, b"READY=1")
    assert manager.hears_of(runtime, pid)
    assert waiting.wait(20) == 0
