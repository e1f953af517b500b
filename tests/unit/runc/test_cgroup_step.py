"""linux.cgroupsPath and linux.resources as steps: who makes the cgroup, and to whom it belongs."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc import plan
from crate_runc.host import HostFacts
from crate_runc.steps import cgroup

WRITABLE = {"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["nosuid", "rw"]}
MAPPED = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100_000, "size": 65536}]
GIVE = "give the cgroup to user"


def config(*namespaces: str, mount: dict[str, Any] | None = None, uid: int = 0, mappings: Any = ()) -> dict[str, Any]:
    return {
        "process": {"user": {"uid": uid, "gid": 0}},
        "mounts": [mount or WRITABLE],
        "linux": {"namespaces": [{"type": kind} for kind in namespaces], "uidMappings": mappings},
    }


def given(value: dict[str, Any], mode: Any = "v2") -> list[str]:
    steps = cgroup.plan_limits(value, HostFacts(cgroup_mode=mode, rootless=True))
    return [step.describe() for step in steps if step.describe().startswith(GIVE)]


@pytest.mark.parametrize(("uid", "owner"), [(0, 1000), (1, 100_000), (65536, 165_535)])
def test_a_writable_cgroup_belongs_to_the_user_of_the_process_as_the_host_counts(uid: int, owner: int) -> None:
    assert given(config("cgroup", "user", uid=uid, mappings=MAPPED)) == [f"{GIVE} {owner}, who has it writable"]


def test_without_a_user_namespace_that_is_the_same_number_and_root_has_it_anyway() -> None:
    assert given(config("cgroup", uid=1000)) == [f"{GIVE} 1000, who has it writable"]
    assert given(config("cgroup", uid=0)) == []


@pytest.mark.parametrize(
    "value",
    [
        config("user", mappings=MAPPED),
        config("cgroup", "user", mappings=MAPPED, mount={**WRITABLE, "options": ["ro"]}),
        config("cgroup", "user", mappings=MAPPED, mount={**WRITABLE, "type": "bind"}),
        config("cgroup", "user", mappings=MAPPED, uid=70_000),
    ],
    ids=["no cgroup namespace", "read-only", "no cgroup mount", "not mapped"],
)
def test_otherwise_it_stays_whose_it_is(value: dict[str, Any]) -> None:
    assert given(value) == []


def test_a_cgroup_of_v1_belongs_to_nobody_in_the_container() -> None:
    assert given(config("cgroup", "user", mappings=MAPPED), "hybrid") == []


def joined(driver: str) -> list[str]:
    prepare, _ = plan.of_parent({**config("pid"), "linux": {"cgroupsPath": "a.slice:b:c"}}, HostFacts(), "c1", driver)
    return [step.describe() for step in prepare]


def test_the_plan_says_who_makes_the_cgroup() -> None:
    assert joined("cgroupfs") == ["move the child into the cgroup"]
    assert joined("systemd") == ["let systemd start b-c.scope in a.slice with the child in it"]
    assert joined("disabled") == []
