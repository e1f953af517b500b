"""Pause and resume, on directories that stand in for cgroupfs. The kernel's own are used in the conformance tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from crate_runc.cgroup import freezer
from crate_runc.errors import CgroupError


@pytest.mark.parametrize(("text", "frozen"), [("FROZEN\n", True), ("FREEZING\n", True), ("THAWED\n", False)])
def test_v1_is_asked_by_freezer_state(text: str, frozen: bool, tmp_path: Path) -> None:
    (tmp_path / "freezer.state").write_text(text)
    (tmp_path / "cgroup.freeze").write_text("0\n")
    assert freezer.is_frozen({"freezer": str(tmp_path), "": str(tmp_path)}) is frozen


@pytest.mark.parametrize(("text", "frozen"), [("1\n", True), ("0\n", False)])
def test_cgroup2_is_asked_where_v1_has_no_freezer(text: str, frozen: bool, tmp_path: Path) -> None:
    (tmp_path / "cgroup.freeze").write_text(text)
    assert freezer.is_frozen({"memory": str(tmp_path), "": str(tmp_path)}) is frozen


def test_what_is_gone_or_never_was_is_not_frozen(tmp_path: Path) -> None:
    assert not freezer.is_frozen({"freezer": f"{tmp_path}/gone"})
    assert not freezer.is_frozen({"": f"{tmp_path}/gone"})
    assert not freezer.is_frozen({})
    freezer.thaw({"freezer": f"{tmp_path}/gone"})
    freezer.thaw({})


def test_freezing_waits_until_all_stand_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.freeze").write_text("0\n")
    events = tmp_path / "cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    slept = []

    def sleep(_: float) -> None:
        slept.append((tmp_path / "cgroup.freeze").read_text()[:1])
        events.write_text("populated 1\nfrozen 1\n")

    monkeypatch.setattr("time.sleep", sleep)
    freezer.freeze({"": str(tmp_path)})
    assert slept == ["1"]


def test_what_does_not_stand_still_runs_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cgroup.freeze").write_text("0\n")
    (tmp_path / "cgroup.events").write_text("frozen 0\n")
    monkeypatch.setattr(freezer, "_SECONDS", 0.0)
    with pytest.raises(CgroupError, match="its processes do not stand still"):
        freezer.freeze({"": str(tmp_path)})
    assert (tmp_path / "cgroup.freeze").read_text()[:1] == "0"


def test_without_a_cgroup_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"freeze the cgroup of the container: it has none; run as root, or let systemd"):
        freezer.freeze({})
    with pytest.raises(CgroupError, match="it is gone, or this kernel cannot freeze it"):
        freezer.freeze({"": f"{tmp_path}/gone"})
