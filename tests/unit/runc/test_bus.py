"""The connection to systemd, against a server of this test that speaks D-Bus; the real one answers in the virtual machine's tests."""

from __future__ import annotations

import _socket
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crate_runc.systemd import bus, wire
from crate_runc.systemd.bus import Address, Bus, BusError, Refused
from tests.support.dbus_server import JOB, Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "bus")
    yield running
    running.close()


def test_a_bus_is_greeted_and_asked_for_the_ends_of_jobs(server: Server) -> None:
    connection = Bus(Address(str(server.path)))
    assert connection.read_properties("ControlGroup", "Version") == ["/top", "252"]
    connection.close()
    assert server.said == b"\0AUTH EXTERNAL\r\nDATA\r\n", (
        "who we are is for the kernel to say: inside a user namespace we do not know"
    )
    assert [member for member, _ in server.calls] == ["Hello", "AddMatch", "Get", "Get"]
    assert "member='JobRemoved'" in server.calls[1][1][0]


def test_on_the_socket_of_systemd_itself_there_is_nobody_to_greet(server: Server) -> None:
    connection = Bus(Address(str(server.path), direct=True))
    assert connection.read_properties("Version") == ["252"]
    connection.close()
    assert [member for member, _ in server.calls] == ["Get"]


@pytest.mark.parametrize("result", ["done", "failed"])
def test_a_job_is_waited_for(server: Server, result: str) -> None:
    server.answers["StopUnit"] = [(wire.RETURN, "o", (JOB,))]
    server.result = result
    connection = Bus(Address(str(server.path)))
    assert connection.job("StopUnit", "ss", "u.scope", "replace") == result
    connection.close()
    assert server.calls[-1] == ("StopUnit", ["u.scope", "replace"])


def test_an_answer_that_says_no_has_a_name_and_a_reason(server: Server) -> None:
    server.answers["StartTransientUnit"] = [(wire.ERROR, "s", ("Unit u.scope already exists.",))]
    connection = Bus(Address(str(server.path)))
    with pytest.raises(Refused, match=r"^Unit u\.scope already exists\.$") as caught:
        connection.job("StartTransientUnit", "ssa(sv)a(sa(sv))", "u.scope", "fail", [], [])
    connection.close()
    assert caught.value.name == "UnitExists"


@pytest.mark.parametrize(
    ("welcome", "reason"),
    [
        (b"REJECTED EXTERNAL\r\n", "it does not let us in: REJECTED EXTERNAL"),
        (b"", "the connection was closed"),
        (b"\xff" * 4096, "not a D-Bus server"),
    ],
)
def test_who_does_not_let_us_in_is_named(server: Server, monkeypatch: pytest.MonkeyPatch, welcome: bytes, reason: str) -> None:
    server.welcome = welcome + (b"" if welcome else b"ERROR\r\n")
    if not welcome:
        server.close()
        server.path.unlink()
        reason = "no such file or directory"
    monkeypatch.setattr(bus, "addresses", lambda *_, **__: [Address(str(server.path))])
    with pytest.raises(
        BusError, match=f"^reach systemd: {server.path}: {reason}.*; where systemd does not run, let the engine use"
    ):
        bus.connect(user=False)


def test_a_bus_of_another_pid_namespace_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """There our processes have other numbers: systemd would move somebody else's."""

    class Foreign(_socket.socket):
        def getsockopt(self, *_: Any) -> bytes:  # type: ignore[override]
            return struct.pack("3i", 0, 0, 0)

    monkeypatch.setattr(bus, "_socket", SimpleNamespace(**{**vars(_socket), "socket": Foreign}))
    monkeypatch.setattr(bus, "addresses", lambda *_, **__: [Address(str(server.path))])
    with pytest.raises(BusError, match="another pid namespace"):
        bus.connect(user=False)


def paths(environment: dict[str, str], *, user: bool, root: bool = False) -> list[tuple[str, bool]]:
    return [(one.path, one.direct) for one in bus.addresses(environment, user=user, root=root)]


SYSTEM = [("/run/dbus/system_bus_socket", False), ("/run/systemd/private", True)]


def test_root_asks_the_system_bus_then_systemd_itself() -> None:
    assert paths({"XDG_RUNTIME_DIR": "/run/user/0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/s"}, user=False, root=True) == SYSTEM
    assert paths({"DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/a"}, user=False) == [("/a", False), *SYSTEM]


def test_a_user_asks_the_own_bus_then_the_own_systemd() -> None:
    own = [("/run/user/5/bus", False), ("/run/user/5/systemd/private", True)]
    environment = {"XDG_RUNTIME_DIR": "/run/user/5"}
    assert paths(environment, user=True) == own
    environment["DBUS_SESSION_BUS_ADDRESS"] = "unix:path=/tmp/a%20b,guid=0f;unix:abstract=x%2fy;tcp:host=h"
    assert paths(environment, user=True) == [("/tmp/a b", False), ("\0x/y", False), *own]


def test_without_a_session_there_is_only_what_root_of_a_container_has() -> None:
    assert paths({}, user=True) == []
    assert paths({}, user=True, root=True) == SYSTEM


def test_the_variable_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(BusError, match=r"XDG_RUNTIME_DIR is not set; log in or run `loginctl enable-linger`.*cgroupfs driver"):
        bus.connect(user=True)
