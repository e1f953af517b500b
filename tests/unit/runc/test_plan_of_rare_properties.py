"""The order of what few containers ask for: time namespaces, namespaces of the host beside a new user namespace, scheduling, devices, classes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from crate_runc import plan, spec
from crate_runc.config import Bundle
from crate_runc.errors import BundleError
from crate_runc.host import HostFacts


def document(*, user: bool = False) -> dict[str, Any]:
    value = copy.deepcopy(spec.make(rootless=False, uid=0, gid=0))
    value["process"]["terminal"] = False
    if user:
        mappings = [{"containerID": 0, "hostID": 1000, "size": 10}]
        value["linux"].update(uidMappings=mappings, gidMappings=mappings)
        value["linux"]["namespaces"].append({"type": "user"})
    return value


def namespace(value: dict[str, Any], kind: str, path: str = "") -> None:
    others = [entry for entry in value["linux"]["namespaces"] if entry["type"] != kind]
    value["linux"]["namespaces"] = [*others, {"type": kind} | ({"path": path} if path else {})]


def made(value: dict[str, Any], **facts: Any) -> plan.Plan:
    return plan.make(Bundle("/b", value, "/b/rootfs"), HostFacts(**facts), plan.Options(container_id="c1"))


def texts(steps: Any) -> list[str]:
    return [step.describe() for step in steps]


def index(steps: Any, start: str) -> int:
    return next(number for number, text in enumerate(texts(steps)) if text.startswith(start))


def test_a_time_namespace_is_made_in_the_user_namespace_and_before_anything_else() -> None:
    value = document(user=True)
    namespace(value, "time")
    value["linux"]["timeOffsets"] = {"boottime": {"secs": -5, "nanosecs": 7}, "monotonic": {}}
    begin = made(value).begin
    assert texts(begin) == [
        "make a new namespace of each kind: user",
        "make a new namespace of each kind: pid",
        "make a new namespace of each kind: time; offsets boottime -5.000000007 s, monotonic 0.000000000 s",
    ]
    assert plan.begin_of_init(begin) == begin[2:], "an init that was cloned into the others makes this one itself"


def test_who_asks_for_none_loads_nothing_of_it() -> None:
    assert plan.begin_of_init(made(document(user=True)).begin) == []


def test_namespaces_of_the_host_are_joined_before_a_new_user_namespace() -> None:
    value = document(user=True)
    for kind in ("network", "cgroup", "time"):
        namespace(value, kind, f"/proc/1/ns/{kind}")
    steps = made(value)
    assert texts(steps.begin) == [
        "join the time namespace /proc/1/ns/time",
        "join the network namespace /proc/1/ns/network",
        "join the cgroup namespace /proc/1/ns/cgroup",
        "make a new namespace of each kind: user",
        "make a new namespace of each kind: pid",
    ]
    assert not any(text.startswith("join the") for text in texts(steps.setup))


def test_who_has_no_rights_over_the_host_joins_what_is_of_his_own_namespace() -> None:
    value = document(user=True)
    namespace(value, "network", "/proc/1/ns/net")
    steps = made(value, euid=1000, egid=1000)
    assert texts(steps.begin)[0] == "make a new namespace of each kind: user"
    assert "join the network namespace /proc/1/ns/net" in texts(steps.setup)


def test_scheduling_and_devices_come_once_the_container_has_its_cgroup_and_network() -> None:
    value = document()
    value["process"].update(scheduler={"policy": "SCHED_IDLE"}, ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 1})
    value["linux"].update(netDevices={"eth1": {"name": "eth0"}, "eth2": {}}, intelRdt={"schemata": ["L3:0=f"]})
    value["hooks"] = {"createRuntime": [{"path": "/bin/true"}]}
    attach = made(value).attach
    order = [
        "set the scheduler SCHED_IDLE",
        "set the I/O priority IOPRIO_CLASS_BE 1",
        "join the resctrl class c1 of L3:0=f",
        "move network devices into the container: eth1 as eth0, eth2",
        "run",
    ]
    places = [index(attach, text) for text in order]
    assert places == sorted(places)


def test_a_device_cannot_be_moved_by_an_ordinary_user() -> None:
    value = document(user=True)
    value["linux"]["netDevices"] = {"eth1": {}}
    with pytest.raises(BundleError, match=r"^linux.netDevices: network devices are not supported for rootless containers"):
        made(value, euid=1000, egid=1000)


def test_personality_and_memory_policy_are_set_before_seccomp_and_the_users_rights() -> None:
    value = document()
    value["linux"].update(
        personality={"domain": "LINUX32"},
        memoryPolicy={"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]},
        seccomp={"defaultAction": "SCMP_ACT_ALLOW"},
    )
    launch = made(value).launch
    assert texts(launch)[:2] == [
        "set the personality LINUX32",
        "set the memory policy MPOL_BIND of nodes 0-1 MPOL_F_STATIC_NODES",
    ]


def test_exec_is_scheduled_once_its_process_is_the_final_one() -> None:
    value = document()
    process = {
        **value["process"],
        "scheduler": {"policy": "SCHED_BATCH"},
        "execCPUAffinity": {"initial": "0", "final": "1"},
    }
    steps = plan.make_exec(process, value, HostFacts(), plan.Options(container_id="c1"))
    assert texts(steps.prepare)[0] == "run the process on processors 0 until it is in its cgroup"
    assert texts(steps.attach)[:2] == ["run the process on processors 1 from now on", "set the scheduler SCHED_BATCH"]
    assert not any("affinity," in text for text in texts(steps.launch)), "what was set on purpose is not reset"
    plain = plan.make_exec(value["process"], value, HostFacts(), plan.Options(container_id="c1"))
    assert any("affinity," in text for text in texts(plain.launch))


def test_exec_joins_the_resctrl_class_but_makes_none() -> None:
    value = document()
    value["linux"]["intelRdt"] = {"schemata": ["L3:0=f"], "enableMonitoring": True}
    steps = plan.make_exec(value["process"], value, HostFacts(), plan.Options(container_id="c1"))
    assert texts(steps.attach) == ["join the resctrl class c1, monitored"]
