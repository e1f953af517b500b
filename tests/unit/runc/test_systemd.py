"""The systemd driver against a server of the tests, with a directory for a cgroup; real ones are in tests/vm."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crate_runc import cgroup
from crate_runc.cgroup.systemd import Scope
from crate_runc.errors import BundleError, CgroupError
from crate_runc.host import HostFacts
from crate_runc.state.record import ContainerState
from crate_runc.systemd import wire
from tests.support.dbus_server import JOB, Server

DONE = (wire.RETURN, "o", (JOB,))
TAKEN = (wire.ERROR, "s", ("Unit ct-a.scope was already loaded.",))
LIMIT = {"pids": {"limit": 5}}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server(tmp_path / "bus")
    running.answers |= {"StartTransientUnit": [DONE], "StopUnit": [DONE]}
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={running.path}")
    yield running
    running.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The scope's cgroup, as systemd would have made it."""
    made = tmp_path / "cgroup/top/ct.slice/ct-a.scope"
    made.mkdir(parents=True)
    (made / "cgroup.controllers").write_text("memory pids")
    (made / "cgroup.procs").write_text("")
    (made / "pids.max").write_text("")
    return made


def facts(tmp_path: Path, **changes: Any) -> HostFacts:
    return HostFacts(cgroup_mounts={"": (str(tmp_path / "cgroup"), "/")}, rootless=False, **changes)


def open_scope(tmp_path: Path, resources: dict[str, Any] | None = None) -> Scope:
    config = {"linux": {"cgroupsPath": "ct.slice:ct:a", "resources": resources or {}}}
    group = cgroup.open_for(config, facts(tmp_path), "c1", cgroup.SYSTEMD)
    assert isinstance(group, Scope)
    return group


def members(server: Server) -> list[str]:
    return [member for member, _ in server.calls if member not in ("Hello", "AddMatch", "Get")]


def test_opening_asks_where_systemd_keeps_its_cgroups_and_does_nothing(server: Server, directory: Path, tmp_path: Path) -> None:
    group = open_scope(tmp_path)
    group.create()
    assert group.paths == {"": str(directory)}
    assert (group.driver, group.unit) == ("systemd", "ct-a.scope")
    assert group.entrance() is None
    assert members(server) == []
    group.close()


def test_the_scope_starts_with_the_process_and_its_limits(server: Server, directory: Path, tmp_path: Path) -> None:
    group = open_scope(tmp_path, LIMIT)
    group.create()
    group.join(4242)
    assert members(server) == ["StartTransientUnit"]
    unit, mode, properties, _ = server.calls[-1][1]
    assert (unit, mode) == ("ct-a.scope", "replace")
    assert {"PIDs": [4242], "Slice": "ct.slice", "Delegate": True, "TasksMax": 5}.items() <= dict(properties).items()


def test_a_unit_that_an_ended_container_left_is_stopped_first(server: Server, directory: Path, tmp_path: Path) -> None:
    server.answers["StartTransientUnit"] = [TAKEN, DONE]
    open_scope(tmp_path).join(4242)
    assert members(server) == ["StartTransientUnit", "StopUnit", "ResetFailedUnit", "StartTransientUnit"]


def test_a_unit_with_processes_is_another_containers(server: Server, directory: Path, tmp_path: Path) -> None:
    server.answers["StartTransientUnit"] = [TAKEN]
    (directory / "cgroup.procs").write_text(f"{os.getpid()}\n")
    with pytest.raises(
        CgroupError,
        match=r"^start unit ct-a\.scope: Unit ct-a\.scope was already loaded\.; another container has it; see `systemctl",
    ):
        open_scope(tmp_path).join(4242)
    assert members(server) == ["StartTransientUnit"]


def test_a_job_that_fails_leaves_no_unit(server: Server, directory: Path, tmp_path: Path) -> None:
    server.result = "failed"
    with pytest.raises(
        CgroupError, match=r"^start unit ct-a\.scope: systemd's job ended as failed; see `systemctl status ct-a\.scope`"
    ):
        open_scope(tmp_path).join(4242)
    assert members(server) == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]


def test_a_cgroup_that_is_not_in_sight_is_none(server: Server, tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"cannot be seen; is all of the host's cgroup2 mounted here\?"):
        open_scope(tmp_path).join(4242)
    assert members(server) == ["StartTransientUnit", "StopUnit", "ResetFailedUnit"]


def state(directory: Path, driver: str = "systemd") -> ContainerState:
    return ContainerState(
        id="c1", bundle="/b", rootfs="/r", config={}, owner=0, created="", cgroup_paths={"": str(directory)}, cgroup_driver=driver
    )


def test_the_state_says_who_made_the_cgroup(directory: Path, tmp_path: Path) -> None:
    for driver, kind in (("systemd", Scope), ("systemd-user", Scope), ("cgroupfs", cgroup.Cgroup), ("disabled", cgroup.NoCgroup)):
        group = cgroup.from_state(state(directory, driver), facts(tmp_path))
        assert isinstance(group, kind)
        assert group.driver == driver


def test_new_limits_go_to_the_files_and_then_to_systemd(server: Server, directory: Path, tmp_path: Path) -> None:
    cgroup.from_state(state(directory), facts(tmp_path)).update({"pids": {"limit": 7}})
    assert (directory / "pids.max").read_text() == "7"
    assert server.calls[-1] == ("SetUnitProperties", ["ct-a.scope", True, [("TasksMax", 7)]])


def test_what_the_kernel_refuses_systemd_is_not_told(server: Server, directory: Path, tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="the controller cpu is not handed down to it"):
        cgroup.from_state(state(directory), facts(tmp_path)).update({"cpu": {"shares": 7}})
    assert members(server) == []


def test_deleting_stops_the_unit_and_removes_the_cgroup(server: Server, directory: Path, tmp_path: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    cgroup.from_state(state(directory), facts(tmp_path)).delete()
    assert members(server) == ["StopUnit", "ResetFailedUnit"]
    assert not directory.exists()


def test_deleting_needs_no_systemd(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope without processes goes by itself, and the session of its user may be over."""
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={tmp_path}/none")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for file in directory.iterdir():
        file.unlink()
    cgroup.from_state(state(directory, "systemd-user"), facts(tmp_path)).delete()
    assert not directory.exists()


def test_who_may_not_move_a_process_asks_systemd(
    server: Server, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "cgroup.procs").unlink()
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={server.path}")
    cgroup.from_state(state(directory, "systemd-user"), facts(tmp_path)).join(4242)
    assert server.calls[-1] == ("AttachProcessesToUnit", ["ct-a.scope", "", [4242]])


def test_bad_names_and_properties_are_told_before_systemd_is_asked(server: Server, tmp_path: Path) -> None:
    for config in ({"linux": {"cgroupsPath": "/a"}}, {"annotations": {"org.systemd.property.X": "1"}}):
        with pytest.raises(BundleError):
            cgroup.open_for(config, facts(tmp_path), "c1", cgroup.SYSTEMD)
    assert server.calls == []


@pytest.mark.parametrize(("mode", "words"), [("v1", "cgroup v1"), ("hybrid", "cgroup hybrid"), ("none", "no cgroups")])
def test_other_hosts_are_told_to_use_the_other_driver(mode: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(
        CgroupError, match=f"this host has {words}, and it needs cgroup v2; let the engine use the cgroupfs driver"
    ):
        cgroup.open_for({}, facts(tmp_path, cgroup_mode=mode), "c1", cgroup.SYSTEMD)
