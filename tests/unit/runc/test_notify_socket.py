"""NOTIFY_SOCKET: what is added to a container, and what of its messages is passed on."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crate_runc import config, spec
from crate_runc.errors import RuncError
from crate_runc.kernel import pidfd
from crate_runc.process import notify_socket
from crate_runc.process.notify_socket import Relay


class Manager:
    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(5)

    def hear(self) -> list[bytes]:
        """All that has come; descriptors of barriers are closed."""
        self.socket.setblocking(False)
        messages: list[bytes] = []
        while True:
            try:
                text, fds, _, _ = socket.recv_fds(self.socket, 4096, 4)
            except BlockingIOError:
                return messages
            for fd in fds:
                os.close(fd)
            messages.append(text)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "manager"))
    monkeypatch.setattr(notify_socket, "_BARRIER_SECONDS", 0.0)  # nobody answers before the test asks
    yield made
    made.socket.close()


@pytest.fixture
def relay(tmp_path: Path, manager: Manager) -> Iterator[Relay]:
    notify_socket.make_directory(str(tmp_path))
    made = Relay(str(tmp_path), str(tmp_path / "manager"))
    yield made
    made.close()


def say(directory: Path, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message, str(directory / "notify/notify.sock"))


def test_the_configuration_gets_a_mount_and_a_variable_and_is_not_changed() -> None:
    before = spec.make(rootless=False, uid=0, gid=0)
    after: dict[str, Any] = notify_socket.add_to(before, "/run/x/c")
    assert before == spec.make(rootless=False, uid=0, gid=0)
    assert after["mounts"][:-1] == before["mounts"]
    assert (after["mounts"][-1]["source"], after["mounts"][-1]["destination"]) == ("/run/x/c/notify", "/run/notify")
    assert after["process"]["env"] == [*before["process"]["env"], "NOTIFY_SOCKET=/run/notify/notify.sock"]
    config.check_config(after)


def test_a_configuration_without_mounts_or_variables() -> None:
    after = notify_socket.add_to({"process": {"args": ["x"]}}, "/d")
    assert [entry["destination"] for entry in after["mounts"]] == ["/run/notify"]
    assert after["process"]["args"] == ["x"]


def test_readiness_is_passed_on_with_the_main_process(relay: Relay, manager: Manager, tmp_path: Path) -> None:
    say(tmp_path, b"READY=1")
    assert relay.forward(42)
    assert manager.hear() == [b"READY=1\n", b"MAINPID=42\n", b"BARRIER=1"]


def test_nothing_else_is_passed_on(relay: Relay, manager: Manager, tmp_path: Path) -> None:
    """A container must not name another main process, or keep descriptors in the service manager."""
    for message in (b"STATUS=x", b"MAINPID=1\nFDSTORE=1", b"WATCHDOG=1", b"", b"XREADY=1"):
        say(tmp_path, message)
        assert not relay.forward(42)
    assert manager.hear() == []
    say(tmp_path, b"MAINPID=1\nREADY=1\nSTATUS=up")
    assert relay.forward(42)
    assert manager.hear() == [b"READY=1\n", b"MAINPID=42\n", b"BARRIER=1"]


def test_with_no_message_nothing_is_forwarded(relay: Relay) -> None:
    assert not relay.forward(42)


def test_the_wait_ends_with_the_process(relay: Relay, manager: Manager) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    process = pidfd.open_process(pid)
    try:
        relay.wait(process, pid)
    finally:
        os.close(process)
        os.waitpid(pid, 0)
    assert manager.hear() == []


def test_the_wait_ends_when_the_container_is_ready(relay: Relay, manager: Manager, tmp_path: Path) -> None:
    process = pidfd.open_process(os.getpid())
    say(tmp_path, b"STATUS=x")
    say(tmp_path, b"READY=1")
    relay.wait(process, 7)
    os.close(process)
    assert b"MAINPID=7\n" in manager.hear()


def test_a_manager_that_is_gone_does_not_matter(relay: Relay, manager: Manager, tmp_path: Path) -> None:
    manager.socket.close()
    say(tmp_path, b"READY=1")
    assert relay.forward(42)


def test_abstract_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_socket, "_BARRIER_SECONDS", 0.0)
    name = f"crate-test-{secrets.token_hex(8)}"
    manager = Manager(f"\0{name}")
    notify_socket.make_directory(str(tmp_path))
    relay = Relay(str(tmp_path), f"@{name}")
    say(tmp_path, b"READY=1")
    assert relay.forward(1)
    assert manager.hear()[0] == b"READY=1\n"
    relay.close()
    manager.socket.close()


def test_nobody_at_the_address_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RuncError, match="connect to NOTIFY_SOCKET /nonexistent/x: no such file"):
        Relay(str(tmp_path), "/nonexistent/x")


@pytest.mark.parametrize("variable", ["", "/somewhere"])
def test_without_a_manager_or_a_place_in_the_container_nobody_listens(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", variable)
    assert notify_socket.listen(str(tmp_path)) is None


def test_places_may_be_deep(tmp_path: Path, manager: Manager) -> None:
    """The address of a unix socket holds 107 bytes."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    notify_socket.make_directory(str(deep))
    relay = Relay(str(deep), str(tmp_path / "manager"))
    assert (deep / "notify/notify.sock").is_socket()
    relay.close()
