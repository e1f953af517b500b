"""linux.intelRdt on a directory that looks like a resctrl file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from crate_runc.errors import BundleError
from crate_runc.steps import intel_rdt
from crate_runc.steps.intel_rdt import Class

MOUNTINFO = "30 29 0:28 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl rw\n"
PRESENT = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(tmp_path)
    return tmp_path


def fill(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    fill_made(directory)
    (directory / "mon_groups").mkdir()


def fill_made(directory: Path) -> None:
    (directory / "schemata").write_text(PRESENT)
    (directory / "tasks").write_text("")


def made(root: Path, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]) -> None:
    """As the kernel, fill each directory that is made."""
    real = os.mkdir

    def mkdir(path: str, mode: int) -> None:
        real(path, mode)
        fill_made(Path(path))

    group = Class(wanted, "c1")
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir)
        group.make(str(root))
    group.join(str(root), 4711)


def test_the_first_resctrl_mount_is_the_root() -> None:
    assert intel_rdt.root_of("1 0 0:1 / / rw - ext4 /dev/x rw\n" + MOUNTINFO) == "/sys/fs/resctrl"


@pytest.mark.parametrize("mountinfo", ["", "1 0 0:1 / /resctrl rw - tmpfs resctrl rw\n"])
def test_without_a_mount_it_is_an_error(mountinfo: str) -> None:
    with pytest.raises(BundleError, match=r"^linux.intelRdt: no resctrl file system is mounted"):
        intel_rdt.check({"linux": {"intelRdt": {}}}, "c1", mountinfo)


def test_a_class_of_its_own_is_named_after_the_container_and_goes_with_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20", "schemata": ["L2:0=1"]}
    assert Class(wanted, "c1").check(str(root)) == [f"{root}/c1"]
    made(root, monkeypatch, wanted)
    assert (root / "c1/schemata").read_text().startswith("L3:0=f\nMB:0=20\nL2:0=1\n")
    assert (root / "c1/tasks").read_text() == "4711"


def test_nothing_is_written_to_schemata_where_nothing_is_asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(root, monkeypatch, {})
    assert (root / "c1/schemata").read_text() == PRESENT


def test_a_directory_of_the_containers_name_that_is_there_is_not_taken_over(root: Path) -> None:
    fill(root / "c1")
    with pytest.raises(BundleError, match="exists already; name it by closID"):
        Class({}, "c1").check(str(root))


def test_a_named_class_is_made_where_it_is_missing_and_stays(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"closID": "gold", "schemata": ["L3:0=f"]}
    assert Class(wanted, "c1").check(str(root)) == []
    made(root, monkeypatch, wanted)
    assert (root / "gold/tasks").read_text() == "4711"


def test_a_named_class_without_schemata_must_be_there(root: Path) -> None:
    with pytest.raises(BundleError, match=r"^linux.intelRdt.closID: .*/gold does not exist"):
        Class({"closID": "gold"}, "c1").check(str(root))
    fill(root / "gold")
    assert Class({"closID": "gold"}, "c1").check(str(root)) == []


@pytest.mark.parametrize("line", ["L3:0=7ff", "L3:1=07ff;0=7FF", "MB:1=100", "MB: 0 = 100"])
def test_schemata_that_say_what_is_there_already_are_fine(root: Path, line: str) -> None:
    fill(root / "gold")
    assert Class({"closID": "gold", "schemata": [line]}, "c1").check(str(root)) == []


@pytest.mark.parametrize("line", ["L3:0=7fe", "L3:2=7ff", "L2:0=7ff", "MB:0=10", "nonsense"])
def test_other_schemata_than_those_that_are_there_are_an_error(root: Path, line: str) -> None:
    fill(root / "gold")
    with pytest.raises(BundleError, match=r"is not what .*/gold/schemata says"):
        Class({"closID": "gold", "schemata": [line]}, "c1").check(str(root))


def test_the_default_class_is_the_root(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Class({"closID": "/"}, "c1").check(str(root)) == []
    made(root, monkeypatch, {"closID": "/"})
    assert (root / "tasks").read_text() == "4711"


def test_monitoring_is_a_group_of_the_containers_name_in_its_class(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(root / "gold")
    wanted = {"closID": "gold", "enableMonitoring": True}
    assert Class(wanted, "c1").check(str(root)) == [f"{root}/gold/mon_groups/c1"]
    made(root, monkeypatch, wanted)
    assert (root / "gold/mon_groups/c1/tasks").read_text() == "4711"
    with pytest.raises(BundleError, match=r"^linux.intelRdt.enableMonitoring: .* exists already"):
        Class(wanted, "c1").check(str(root))


def test_what_was_made_is_removed_inner_first_and_what_is_gone_is_no_error(root: Path) -> None:
    for path in ("c1", "c1/mon_groups", "c1/mon_groups/c1"):
        (root / path).mkdir()
    (root / "c1/mon_groups/c1").rmdir()
    (root / "c1/mon_groups").rmdir()
    intel_rdt.remove([f"{root}/c1", f"{root}/c1/mon_groups/c1"])
    assert not (root / "c1").exists()
