"""The state of a container: its phases, its status, and its two JSON forms. Nothing here touches the system."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.errors import StateError
from crate_runc.state.record import ContainerState, from_json


def make(**changes: Any) -> ContainerState:
    values: dict[str, Any] = {
        "id": "c1",
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "config": {"annotations": {"a": "b"}, "process": {"args": ["x"]}},
        "owner": 1000,
        "created": "2026-01-02T03:04:05.000000006Z",
        "phase": "created",
        "pid": 42,
        "start_time": 77,
        "boot_id": "boot",
        "cgroup_paths": {"": "/sys/fs/cgroup/c1"},
    }
    return ContainerState(**{**values, **changes})


def test_comes_back_from_its_own_json() -> None:
    state = make()
    again = from_json(state.to_json())
    assert again.to_json() == state.to_json()
    assert again.annotations == {"a": "b"}


@pytest.mark.parametrize("value", [None, [], {}, {"format": 0}, {"format": 1}, {"format": 1, "id": "x", "unknown": 1}])
def test_refuses_what_it_did_not_write(value: Any) -> None:
    with pytest.raises(StateError, match="container state"):
        from_json(value)


@pytest.mark.parametrize(
    ("phase", "pid", "alive", "creator_alive", "status"),
    [
        ("creating", 0, False, True, "creating"),
        ("creating", 0, False, False, "stopped"),
        ("creating", 42, True, True, "creating"),
        ("creating", 42, False, True, "stopped"),
        ("created", 42, True, True, "created"),
        ("running", 42, True, True, "running"),
        ("running", 42, False, True, "stopped"),
        ("created", 42, False, True, "stopped"),
    ],
)
def test_status_follows_the_process(phase: str, pid: int, alive: bool, creator_alive: bool, status: str) -> None:
    assert make(phase=phase, pid=pid).status(alive=alive, creator_alive=creator_alive) == status


def test_moves_along_the_lifecycle_only() -> None:
    state = make(phase="creating")
    for phase in ("created", "running", "stopped"):
        state.move_to(phase)
    with pytest.raises(StateError, match="container c1 cannot become running: it is stopped"):
        state.move_to("running")
    with pytest.raises(StateError):
        make(phase="creating").move_to("running")


def test_state_json_has_the_keys_of_the_spec_and_of_runc_in_runcs_order() -> None:
    value = make(phase="running").as_state_json("running")
    assert list(value) == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner"]
    assert (value["pid"], value["status"], value["annotations"], value["owner"]) == (42, "running", {"a": "b"}, "")


def test_state_json_of_a_stopped_container_names_no_process() -> None:
    assert make().as_state_json("stopped")["pid"] == 0


def test_state_json_leaves_out_annotations_that_are_not_there() -> None:
    assert "annotations" not in make(config={}).as_state_json("created")
