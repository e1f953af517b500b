"""What changes with `update`, and what the kernel is told together with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from crate_runc import host, update
from crate_runc.cgroup.resources import writes
from crate_runc.errors import BundleError, CgroupError, StateError
from crate_runc.host import HostFacts
from crate_runc.state.record import ContainerState
from crate_runc.state.store import StateStore, boot_id, start_time

G = 1 << 30


def test_nothing_said_is_nothing_changed() -> None:
    docker = {
        "memory": {"limit": 0, "swap": 0, "disableOOMKiller": False},
        "cpu": {"shares": 0, "cpus": "", "idle": 0},
        "blockIO": {"weight": 0},
        "network": {"classID": 0},
        "pids": {"limit": 0},
    }
    assert update.said(docker) == {
        "memory": {"disableOOMKiller": False},
        "cpu": {"idle": 0},
        "blockIO": {},
        "network": {},
        "pids": {"limit": 0},
    }


def test_entries_of_lists_are_changed_or_added() -> None:
    before = {
        "blockIO": {
            "weight": 10,
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 1, "rate": 2}],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
        "network": {"priorities": [{"name": "lo", "priority": 1}]},
        "rdma": {"mlx": {"hcaHandles": 1}},
        "unified": {"a.b": "1", "c.d": "2"},
        "devices": [{"allow": False, "access": "rwm"}],
    }
    given = {
        "blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 5}, {"major": 9, "minor": 0, "rate": 6}]},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 2}],
        "network": {"priorities": [{"name": "lo", "priority": 9}]},
        "rdma": {"mlx": {"hcaObjects": 2}},
        "unified": {"a.b": "3"},
        "pids": {"limit": 4},
    }
    assert update.merged(before, given) == {
        "blockIO": {
            "weight": 10,
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 0, "rate": 1},
                {"major": 8, "minor": 1, "rate": 5},
                {"major": 9, "minor": 0, "rate": 6},
            ],
        },
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}],
        "network": {"priorities": [{"name": "lo", "priority": 9}]},
        "rdma": {"mlx": {"hcaHandles": 1, "hcaObjects": 2}},
        "unified": {"a.b": "3", "c.d": "2"},
        "devices": [{"allow": False, "access": "rwm"}],
        "pids": {"limit": 4},
    }


@pytest.mark.parametrize(
    ("before", "given", "written"),
    [
        ({"quota": 5, "period": 7}, {"quota": 6}, ["cpu.max 6 7"]),
        ({"quota": 5, "period": 7}, {"period": 8}, ["cpu.max 5 8"]),
        ({"quota": 5, "period": 7}, {"shares": 2}, ["cpu.weight 1"]),
        ({}, {"quota": 6}, ["cpu.max 6 100000"]),
        ({"quota": 5}, {"quota": -1}, ["cpu.max max 100000"]),
    ],
)
def test_a_quota_goes_with_its_period(before: dict[str, Any], given: dict[str, Any], written: list[str]) -> None:
    limits = update.completed({"cpu": before}, {"cpu": given})
    assert [f"{file} {value}" for _, file, value in writes(limits, "v2")] == written


@pytest.mark.parametrize(
    ("before", "given", "written"),
    [
        ({"limit": G, "swap": 3 * G}, {"limit": 2 * G}, [f"memory.swap.max {G}", f"memory.max {2 * G}"]),
        ({"limit": G, "swap": 3 * G}, {"swap": 2 * G}, [f"memory.swap.max {G}", f"memory.max {G}"]),
        ({"limit": G, "swap": 3 * G}, {"limit": -1}, ["memory.swap.max max", "memory.max max"]),
        ({"limit": G, "swap": 3 * G}, {"reservation": 5}, ["memory.low 5"]),
        ({"limit": G, "swap": -1}, {"limit": 5}, ["memory.swap.max max", "memory.max 5"]),
        ({}, {"limit": 5}, ["memory.max 5"]),
    ],
)
def test_swap_is_what_memory_leaves_of_both(before: dict[str, Any], given: dict[str, Any], written: list[str]) -> None:
    limits = update.completed({"memory": before}, {"memory": given})
    assert [f"{file} {value}" for _, file, value in writes(limits, "v2")] == written


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateStore:
    """A container in a directory that stands in for cgroup2; its first process is this one."""
    group = tmp_path / "group"
    group.mkdir()
    for file, text in (("pids.max", "max"), ("memory.max", "max"), ("memory.swap.max", "max"), ("cgroup.freeze", "0")):
        (group / file).write_text(text)
    (group / "cgroup.controllers").write_text("pids memory")
    facts = HostFacts(cgroup_mode="v2", cgroup_mounts={"": (str(tmp_path), "/")})
    monkeypatch.setattr(host, "probe", lambda: facts)
    store = StateStore(f"{tmp_path}/root")
    state = ContainerState(
        id="c1",
        bundle="/b",
        rootfs="/b/rootfs",
        config={"linux": {"resources": {"memory": {"limit": G, "swap": 2 * G}}}},
        owner=0,
        created="now",
        phase="running",
        pid=os.getpid(),
        start_time=start_time(os.getpid()) or 0,
        boot_id=boot_id(),
        cgroup_paths={"": str(group)},
    )
    with store.create("c1") as entry:
        entry.save(state)
    return store


def resources_of(store: StateStore) -> Any:
    with store.open("c1", lock=False) as entry:
        return entry.load().config["linux"]["resources"]


def test_the_state_keeps_what_was_changed(running: StateStore, tmp_path: Path) -> None:
    update.update(running, "c1", {"pids": {"limit": 7}, "memory": {"limit": 0}})
    assert (tmp_path / "group" / "pids.max").read_text().startswith("7")
    assert (tmp_path / "group" / "memory.max").read_text() == "max"
    assert resources_of(running) == {"memory": {"limit": G, "swap": 2 * G}, "pids": {"limit": 7}}


def test_when_one_limit_fails_all_are_as_before(running: StateStore, tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=r"^linux.resources.cpu.shares: "):
        update.update(running, "c1", {"pids": {"limit": 7}, "cpu": {"shares": 100}})
    assert (tmp_path / "group" / "pids.max").read_text() == "max"
    assert resources_of(running) == {"memory": {"limit": G, "swap": 2 * G}}


def test_what_contradicts_the_limits_that_stay_is_an_error(running: StateStore) -> None:
    with pytest.raises(BundleError, match=r"^linux.resources.memory.swap: .* cannot be less than memory.limit"):
        update.update(running, "c1", {"memory": {"limit": 3 * G}})


def test_a_limit_below_what_is_in_use_is_refused_only_when_asked_for(running: StateStore, tmp_path: Path) -> None:
    (tmp_path / "group" / "memory.current").write_text("5000\n")
    with pytest.raises(CgroupError, match=r"^linux.resources.memory.limit: 4096 is not more than what is in use, 5000"):
        update.update(running, "c1", {"memory": {"limit": 4096, "checkBeforeUpdate": True}})
    assert (tmp_path / "group" / "memory.max").read_text() == "max"
    update.update(running, "c1", {"memory": {"limit": 8192, "checkBeforeUpdate": True}})
    update.update(running, "c1", {"memory": {"limit": 4096}})
    assert (tmp_path / "group" / "memory.max").read_text().startswith("4096")


def test_a_stopped_container_has_no_limits(running: StateStore) -> None:
    with running.open("c1") as entry:
        state = entry.load()
        state.start_time += 1
        entry.save(state)
    with pytest.raises(StateError, match=r"^container not running$"):
        update.update(running, "c1", {"pids": {"limit": 7}})


def test_the_same_device_rules_are_no_change(running: StateStore) -> None:
    """CRI sends all of linux.resources with each change of a limit."""
    rules = [{"allow": False, "access": "rwm"}]
    with running.open("c1") as entry:
        state = entry.load()
        state.config["linux"]["resources"]["devices"] = rules
        entry.save(state)
    update.update(running, "c1", {"devices": rules, "pids": {"limit": 5}})
    assert resources_of(running)["pids"] == {"limit": 5}
