"""When a container may be paused and resumed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_runc import pause
from crate_runc.errors import CgroupError, StateError
from crate_runc.state.record import ContainerState
from crate_runc.state.store import StateStore, boot_id, start_time


def container(tmp_path: Path, phase: str = "running", started: int = 0, paths: dict[str, str] | None = None) -> StateStore:
    store = StateStore(f"{tmp_path}/root")
    (tmp_path / "cgroup.freeze").write_text("0\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    state = ContainerState(
        id="c1",
        bundle="/b",
        rootfs="/b/rootfs",
        config={},
        owner=0,
        created="now",
        phase=phase,
        pid=os.getpid(),
        start_time=(start_time(os.getpid()) or 0) + started,
        boot_id=boot_id(),
        cgroup_paths={"": str(tmp_path)} if paths is None else paths,
    )
    with store.create("c1") as entry:
        entry.save(state)
    return store


@pytest.mark.parametrize("phase", ["created", "running"])
def test_it_is_paused_once_and_resumed_once(tmp_path: Path, phase: str) -> None:
    store = container(tmp_path, phase)
    with pytest.raises(StateError, match=r"^container not paused$"):
        pause.resume(store, "c1")
    pause.pause(store, "c1")
    assert (tmp_path / "cgroup.freeze").read_text().startswith("1")
    with pytest.raises(StateError, match=r"^container not running$"):
        pause.pause(store, "c1")
    pause.resume(store, "c1")
    assert (tmp_path / "cgroup.freeze").read_text().startswith("0")


def test_a_stopped_one_is_neither(tmp_path: Path) -> None:
    store = container(tmp_path, started=1)
    with pytest.raises(StateError, match=r"^container not running$"):
        pause.pause(store, "c1")
    with pytest.raises(StateError, match=r"^container not paused$"):
        pause.resume(store, "c1")


def test_one_without_a_cgroup_cannot_be_paused(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="it has none; run as root"):
        pause.pause(container(tmp_path, paths={}), "c1")
