from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crate_runc import cgroup, exec_cgroup
from crate_runc.cgroup import files
from crate_runc.errors import CgroupError, RuncError
from crate_runc.host import UNIFIED, HostFacts

PATHS = {"pids": "/sys/fs/cgroup/pids/c", "cpu": "/sys/fs/cgroup/cpu/c", UNIFIED: "/sys/fs/cgroup/unified/c"}


def test_a_path_alone_is_for_every_hierarchy() -> None:
    assert exec_cgroup.below(PATHS, ["a/b"]) == {name: f"{path}/a/b" for name, path in PATHS.items()}


def test_a_path_of_controllers_is_for_them() -> None:
    assert exec_cgroup.below(PATHS, ["pids,cpu:a", ":b"]) == {
        "pids": "/sys/fs/cgroup/pids/c/a",
        "cpu": "/sys/fs/cgroup/cpu/c/a",
        UNIFIED: "/sys/fs/cgroup/unified/c/b",
    }


def test_an_absolute_path_starts_at_the_containers_cgroup() -> None:
    assert exec_cgroup.below({"pids": "/p/c"}, ["/a/../b"]) == {"pids": "/p/c/b"}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["../c2"], "../c2 is not a sub cgroup path"),
        (["a/../../c2"], "is not a sub cgroup path"),
        (["pids:a", "pids:b"], "controller pids specified multiple times"),
        (["a", "pids:b"], r"a \(missing <controller>: prefix\)"),
        (["memory:a"], "unknown controller memory"),
        (["a:b:c"], "invalid --cgroup argument: a:b:c"),
    ],
)
def test_what_is_no_cgroup_below_is_refused(values: list[str], text: str) -> None:
    with pytest.raises(RuncError, match=text):
        exec_cgroup.below(PATHS, values)


@pytest.fixture
def joins(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    made: list[tuple[str, int]] = []

    def join(directory: str, pid: int) -> None:
        if directory.endswith("/busy"):
            raise CgroupError(f"move process {pid} to cgroup {directory}: device or resource busy")
        made.append((directory, pid))

    monkeypatch.setattr(files, "join", join)
    return made


def _group(mode: Any) -> cgroup.Cgroup:
    facts = HostFacts(cgroup_mode=mode)
    return cgroup.from_paths({UNIFIED: "/sys/fs/cgroup/busy"}, facts)


def test_a_cgroup_that_takes_no_process_is_left_for_that_of_init(
    joins: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exec_cgroup, "_cgroup_of", lambda pid, mount: f"{mount}/busy/init")
    exec_cgroup.join_unified(_group("v2"), 1, 55)
    assert joins == [("/sys/fs/cgroup/busy/init", 55)]


@pytest.mark.parametrize(
    ("mode", "actual"), [("hybrid", "/sys/fs/cgroup/busy/init"), ("v2", ""), ("v2", "/sys/fs/cgroup/elsewhere")]
)
def test_nobody_leaves_the_containers_cgroup_by_that(
    joins: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch, mode: str, actual: str
) -> None:
    monkeypatch.setattr(exec_cgroup, "_cgroup_of", lambda pid, mount: actual)
    with pytest.raises(CgroupError, match="device or resource busy"):
        exec_cgroup.join_unified(_group(mode), 1, 55)
    assert joins == []


def test_the_cgroup_of_a_process_that_is_gone_is_none(tmp_path: Path) -> None:
    assert exec_cgroup._cgroup_of(1 << 30, str(tmp_path)) == ""
