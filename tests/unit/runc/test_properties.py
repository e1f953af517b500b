"""Properties of a scope: from limits and from annotations."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.cgroup import resources
from crate_runc.errors import BundleError
from crate_runc.systemd import properties, wire

NEW = 255
NOTHING = properties.INFINITY


def limits(version: int = NEW, *, starting: bool = True, **wanted: Any) -> dict[str, Any]:
    found = properties.of_limits(resources.writes(wanted, "v2"), version, starting=starting)
    assert len({name for name, _ in found}) == len(found), "systemd would take the last of two"
    wire.encode("a(sv)", (found,))
    return {name: value for name, (_, value) in found}


def test_limits_of_config_json_become_properties() -> None:
    assert limits(
        memory={"limit": 1 << 20, "swap": 3 << 20, "reservation": 4096},
        cpu={"shares": 1024, "quota": 50_000, "period": 200_000, "cpus": "0-2,9", "mems": "0"},
        pids={"limit": 20},
    ) == {
        "MemoryMax": 1 << 20,
        "MemorySwapMax": 2 << 20,
        "MemoryLow": 4096,
        "CPUWeight": 100,
        "CPUQuotaPeriodUSec": 200_000,
        "CPUQuotaPerSecUSec": 250_000,
        "AllowedCPUs": [0b111, 0b10],
        "AllowedMemoryNodes": [1],
        "TasksMax": 20,
    }


def test_what_is_lifted_is_infinity() -> None:
    assert limits(memory={"limit": -1}, cpu={"quota": -1}, pids={"limit": -1}) == {
        "MemoryMax": NOTHING,
        "MemorySwapMax": NOTHING,
        "CPUQuotaPeriodUSec": 100_000,
        "CPUQuotaPerSecUSec": NOTHING,
        "TasksMax": NOTHING,
    }


def test_files_of_cgroup_v2_become_properties_where_there_is_one() -> None:
    unified = {
        "memory.high": "max",
        "memory.min": "5",
        "pids.max": "0",
        "cpu.max": "max",
        "io.weight": "default 200",
        "memory.oom.group": "1",
        "hugetlb.2MB.max": "0",
    }
    assert limits(unified=unified) == {
        "MemoryHigh": NOTHING,
        "MemoryMin": 5,
        "TasksMax": 1,
        "CPUQuotaPeriodUSec": 100_000,
        "CPUQuotaPerSecUSec": NOTHING,
        "IOWeight": 200,
        "OOMPolicy": "kill",
    }


def test_the_file_has_the_last_word() -> None:
    assert limits(memory={"limit": 5}, unified={"memory.max": "7"}) == {"MemoryMax": 7}


def test_an_old_systemd_is_not_told_what_it_does_not_know() -> None:
    wanted: dict[str, Any] = {
        "cpu": {"cpus": "0", "idle": 1, "quota": 5},
        "pids": {"limit": 5},
        "unified": {"memory.oom.group": "1"},
    }
    assert limits(241, **wanted) == {"TasksMax": 5}
    assert limits(251, **wanted).keys() == {"TasksMax", "AllowedCPUs", "CPUQuotaPeriodUSec", "CPUQuotaPerSecUSec"}
    assert limits(253, **wanted).keys() == {*limits(251, **wanted), "CPUWeight", "OOMPolicy"}


def test_an_idle_cgroup_has_no_weight() -> None:
    assert limits(cpu={"idle": 1, "shares": 5}) == {"CPUWeight": 0}
    assert properties.settled({"cpu": {"idle": 1, "shares": 5}}) == {"cpu": {"idle": 1}}
    assert limits(cpu={"idle": 0, "shares": 1024}) == {"CPUWeight": 100}


def test_what_is_set_only_at_the_start_is_left_out_later() -> None:
    assert limits(starting=False, unified={"memory.oom.group": "1"}) == {}


def test_a_quota_is_rounded_up_to_what_systemd_keeps_in_the_files_too() -> None:
    assert limits(cpu={"quota": 33_333, "period": 100_000})["CPUQuotaPerSecUSec"] == 340_000
    assert properties.settled({"cpu": {"quota": 33_333, "period": 100_000}}) == {"cpu": {"quota": 34_000, "period": 100_000}}
    assert properties.settled({"cpu": {"quota": 50_000}}) == {"cpu": {"quota": 50_000}}
    assert properties.settled({"cpu": {"quota": -1}}) == {"cpu": {"quota": -1}}
    assert properties.settled({"pids": {"limit": 1}}) == {"pids": {"limit": 1}}


@pytest.mark.parametrize(
    "unified", [{"memory.max": "lots"}, {"cpuset.cpus": "3-1"}, {"cpuset.cpus": ""}, {"cpu.weight": "x"}, {"cpu.max": "a b"}]
)
def test_a_value_that_is_none_is_refused_by_its_file(unified: dict[str, str]) -> None:
    with pytest.raises(BundleError, match=f"^linux.resources: {next(iter(unified))}: "):
        limits(unified=unified)


def test_a_scope_is_delegated_accounted_and_goes_by_itself() -> None:
    scope = dict(properties.of_scope("a.slice", "c1", 42))
    assert scope["Delegate"] == ("b", True)
    assert scope["PIDs"] == ("au", [42])
    assert scope["Slice"] == ("s", "a.slice")
    assert scope["CollectMode"] == ("s", "inactive-or-failed")
    assert "c1" in scope["Description"][1]
    wire.encode("a(sv)", (list(scope.items()),))


def test_annotations_set_properties() -> None:
    annotations = {
        "org.systemd.property.After": "['a.service']",
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.RuntimeMaxSec": "1.5",
        "org.systemd.property.CollectMode": "'inactive'",
        "org.example": "ignored",
    }
    assert properties.of_annotations(annotations) == [
        ("After", ("as", ["a.service"])),
        ("TimeoutStopUSec", ("t", 7_000_000)),
        ("RuntimeMaxUSec", ("t", 1_500_000)),
        ("CollectMode", ("s", "inactive")),
    ]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Me", "true", "no name of a systemd property"),
        ("Memory-Max", "true", "no name of a systemd property"),
        ("MemoryMax", "lots", "'lots' is no value"),
        ("TimeoutStopSec", "'7'", "a number of seconds"),
        ("TimeoutStopSec", "-1", "a number of seconds"),
        ("TimeoutStopSec", "uint64 18446744073709551615", "a number of seconds"),
    ],
)
def test_an_annotation_that_sets_nothing_is_refused(name: str, value: str, reason: str) -> None:
    with pytest.raises(BundleError, match=rf"^annotations.org.systemd.property.{name}: .*{reason}"):
        properties.of_annotations({f"org.systemd.property.{name}": value})
