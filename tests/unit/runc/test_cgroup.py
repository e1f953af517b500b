"""Control groups on directories that stand in for cgroupfs: what is written where, and what an ordinary user gets.

The kernel's own are used in the integration tests.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from crate_runc import cgroup
from crate_runc.cgroup import NoCgroup, files
from crate_runc.errors import BundleError, CgroupError, Unsupported
from crate_runc.host import HostFacts

LIMIT = {"pids": {"limit": 5}}


def v2(tmp_path: Path, **changes: Any) -> HostFacts:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    return HostFacts(cgroup_mode="v2", cgroup_mounts={"": (str(tmp_path), "/")}, own_cgroups={"": "/user/shell"}, **changes)


def open_for(facts: HostFacts, path: str = "", resources: dict[str, Any] | None = None) -> cgroup.Cgroup:
    return cgroup.open_for({"linux": {"cgroupsPath": path, "resources": resources or {}}}, facts, "c1")


def test_opening_does_nothing(tmp_path: Path) -> None:
    group = open_for(v2(tmp_path), "/a/b")
    assert group.paths == {"": f"{tmp_path}/a/b"}
    assert not (tmp_path / "a").exists()


def test_limits_that_the_mode_cannot_express_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"^linux.resources.memory.swappiness"):
        open_for(v2(tmp_path), "/a", {"memory": {"swappiness": 5}})
    with pytest.raises(BundleError, match=r"^linux.resources.memory.swap"):
        open_for(v2(tmp_path), "/a", {"memory": {"swap": 5}})
    hole = [{"allow": True, "type": "c", "access": "rwm"}, {"allow": False, "type": "c", "major": 1, "minor": 1, "access": "rwm"}]
    v1 = HostFacts(cgroup_mode="v1", cgroup_mounts={"devices": (str(tmp_path), "/")})
    with pytest.raises(Unsupported, match=r"^linux.resources.devices\[1\]"):
        open_for(v1, "/a", {"devices": hole})
    open_for(v2(tmp_path), "/a", {"devices": hole})


def test_v2_hands_controllers_down_and_makes_every_directory(tmp_path: Path) -> None:
    group = open_for(v2(tmp_path), "/a/b")
    group.create()
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"
    group.create()  # what is there already is used
    assert (tmp_path / "a" / "b").is_dir()


def test_v2_names_a_controller_that_was_not_handed_down(tmp_path: Path) -> None:
    group = open_for(v2(tmp_path, rootless=True), "/a", LIMIT)
    group.create()
    (tmp_path / "a" / "cgroup.controllers").write_text("memory\n")
    with pytest.raises(CgroupError, match=r"set pids.max in cgroup .*/a: the controller pids is not handed down"):
        group.apply(LIMIT)


def test_v2_writes_limits_where_they_belong(tmp_path: Path) -> None:
    group = open_for(v2(tmp_path, rootless=True), "/a", LIMIT)
    group.create()
    (tmp_path / "a" / "cgroup.controllers").write_text("pids\n")
    (tmp_path / "a" / "pids.max").write_text("max\n")
    group.apply(LIMIT)
    assert (tmp_path / "a" / "pids.max").read_text().startswith("5")


def v1(tmp_path: Path, **changes: Any) -> HostFacts:
    for name in ("memory", "cpuset"):
        (tmp_path / name).mkdir(exist_ok=True)
    mounts = {name: (f"{tmp_path}/{name}", "/") for name in ("memory", "cpuset")}
    return HostFacts(cgroup_mode="v1", cgroup_mounts=mounts, own_cgroups={"memory": "/", "cpuset": "/"}, **changes)


def test_v1_fills_a_new_cpuset_from_its_parent(tmp_path: Path) -> None:
    facts = v1(tmp_path)
    for directory, content in (("cpuset", "0-3\n"), ("cpuset/a", "")):
        (tmp_path / directory).mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            (tmp_path / directory / file).write_text(content)
    open_for(facts, "/a").create()
    assert (tmp_path / "cpuset" / "a" / "cpuset.cpus").read_text() == "0-3"
    assert (tmp_path / "memory" / "a").is_dir()


def test_v1_needs_the_devices_controller_unless_rootless(tmp_path: Path) -> None:
    group = open_for(HostFacts(cgroup_mode="v1", cgroup_mounts={"memory": (str(tmp_path), "/")}), "/a")
    group.create()
    with pytest.raises(CgroupError, match="limit devices: no devices controller is mounted"):
        group.apply({})


def test_v1_lifting_a_limit_of_swap_that_is_not_counted_is_no_error(tmp_path: Path) -> None:
    facts = HostFacts(cgroup_mode="v1", cgroup_mounts={"memory": (str(tmp_path), "/")}, rootless=True)
    group = open_for(facts, "/a")
    group.create()
    (tmp_path / "a" / "memory.limit_in_bytes").write_text("1")
    group.apply({"memory": {"limit": -1}})
    assert (tmp_path / "a" / "memory.limit_in_bytes").read_text() == "-1"
    with pytest.raises(CgroupError, match=r"set memory.memsw.limit_in_bytes in cgroup .*: this kernel has no such file"):
        group.apply({"memory": {"limit": 5, "swap": 6}})


def denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def mkdir(path: str, mode: int = 0o777) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", mkdir)


@pytest.mark.parametrize("host", [v1, v2])
def test_an_ordinary_user_without_a_limit_goes_without_a_cgroup(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host(tmp_path, euid=1000)
    denied(monkeypatch)
    group = open_for(facts)
    group.create()
    group.apply({})
    group.join(os.getpid())
    assert group.paths == {}
    assert group.processes() == []
    cgroup.from_paths(group.paths, facts).kill()
    cgroup.from_paths(group.paths, facts).delete()


@pytest.mark.parametrize("host", [v1, v2])
def test_an_ordinary_user_with_a_limit_is_told_why_there_is_none(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host(tmp_path, euid=1000)
    denied(monkeypatch)
    group = open_for(facts, "", {"memory": {"limit": 5}})
    group.create()
    remedy = "use --systemd-cgroup" if facts.cgroup_mode == "v2" else "run as root"
    with pytest.raises(
        CgroupError,
        match=f"memory.limit: limit memory: the container has no memory cgroup: this user may not make one; {remedy}, or",
    ):
        group.apply({"memory": {"limit": 5}})


@pytest.mark.parametrize("host", [v1, v2])
def test_an_ordinary_user_whose_default_cgroup_is_there_and_not_theirs_goes_without(
    host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host(tmp_path, euid=1000)
    group = open_for(facts)
    for directory in group.paths.values():
        Path(directory).mkdir(parents=True, exist_ok=True)
        Path(directory, "cgroup.procs").write_text("")
    monkeypatch.setattr(os, "access", lambda path, mode: not path.endswith("c1/cgroup.procs"))
    group.create()
    group.apply({})
    group.join(os.getpid())
    assert group.paths == {}


def test_a_container_without_the_cgroup_that_was_left_out_cannot_be_limited(tmp_path: Path) -> None:
    group = cgroup.open_for({"linux": {"resources": LIMIT}}, v2(tmp_path), "c1", cgroup.DISABLED)
    group.create()
    group.join(os.getpid())
    assert (group.paths, group.driver) == ({}, "disabled")
    with pytest.raises(CgroupError, match=r"pids.limit: .* --cgroup-manager disabled leaves it out"):
        group.apply(LIMIT)


def test_v2_gives_the_cgroup_and_the_files_that_the_kernel_delegates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((path, uid, gid)))
    group = open_for(v2(tmp_path), "/a")
    group.create()
    (tmp_path / "a" / "cgroup.procs").write_text("")
    (tmp_path / "a" / "memory.max").write_text("")
    group.give_to(100_000)
    assert given == [(f"{tmp_path}/a", 100_000, -1), (f"{tmp_path}/a/cgroup.procs", 100_000, -1)]


@pytest.mark.parametrize("host", [v1, v2])
@pytest.mark.parametrize(("euid", "path"), [(1000, "/a"), (0, "")])
def test_a_cgroup_that_was_asked_for_must_be_made(
    host: Any, euid: int, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host(tmp_path, euid=euid)
    denied(monkeypatch)
    with pytest.raises(CgroupError, match=r"^make cgroup .*: permission denied$"):
        open_for(facts, path).create()


def test_a_host_without_cgroups_runs_what_asks_for_none() -> None:
    facts = HostFacts(cgroup_mode="none", cgroup_mounts={})
    group = open_for(facts)
    assert isinstance(group, NoCgroup)
    group.create()
    group.apply({})
    with pytest.raises(CgroupError, match="limit pids: the container has no pids cgroup: the controller is not mounted"):
        group.apply(LIMIT)
    with pytest.raises(CgroupError, match="none is mounted on this host; mount cgroup2"):
        open_for(facts, "/a").create()


def test_processes_are_those_of_the_whole_tree(tmp_path: Path) -> None:
    for name, pids in (("c", "1\n2\n"), ("c/in", "3\n0\n"), ("c/in/in", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").write_text(pids)
    facts = v2(tmp_path)
    assert cgroup.from_paths({"": f"{tmp_path}/c"}, facts).processes() == [1, 2, 3]
    assert cgroup.from_paths({"": f"{tmp_path}/gone"}, facts).processes() == []


def test_a_write_creates_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.write(str(tmp_path), "pids.max", "1")
    assert list(tmp_path.iterdir()) == []


def test_removing_takes_the_cgroups_inside_and_what_is_gone_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "c" / "in" / "in").mkdir(parents=True)
    files.remove(str(tmp_path / "c"))
    assert not (tmp_path / "c").exists()
    files.remove(str(tmp_path / "c"))


def test_a_cgroup_that_stays_in_use_is_told_with_its_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_REMOVE_SECONDS", 0.05)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cgroup.procs").write_text("77\n")
    with pytest.raises(CgroupError, match=r"remove cgroup .*/c: still in use; processes: 77$"):
        files.remove(str(tmp_path / "c"))


def test_a_paused_cgroup_is_not_joined(tmp_path: Path) -> None:
    facts = v2(tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "cgroup.freeze").write_text("1\n")
    with pytest.raises(CgroupError, match="container's cgroup unexpectedly frozen"):
        open_for(facts, "/a").create()
    (tmp_path / "a" / "cgroup.freeze").write_text("0\n")
    open_for(facts, "/a").create()


def test_v1_says_where_a_limit_of_kernel_memory_is_taken_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = HostFacts(cgroup_mode="v1", cgroup_mounts={"memory": (str(tmp_path), "/")}, rootless=True)
    group = open_for(facts, "/a")
    group.create()
    (tmp_path / "a" / "memory.kmem.limit_in_bytes").write_text("")
    group.apply({"memory": {"kernel": 5}})
    monkeypatch.setattr(files, "write", lambda *_: None)
    (tmp_path / "a" / "memory.kmem.limit_in_bytes").write_text("9223372036854771712\n")
    with pytest.raises(CgroupError, match=r"^linux.resources.memory.kernel: this kernel does not limit kernel memory alone"):
        group.apply({"memory": {"kernel": 5}})
