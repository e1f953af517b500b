"""linux.resources.blockIO in the words of cgroup v1 and v2."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.cgroup import block_io
from crate_runc.cgroup.resources import writes
from crate_runc.errors import Unsupported

DISK = {"major": 8, "minor": 16}
RATES = [
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
]


def words(section: dict[str, Any], mode: str) -> list[tuple[str, str, str]]:
    return writes({"blockIO": section}, mode)


@pytest.mark.parametrize(("name", "file", "key"), RATES)
def test_each_rate_has_a_file_on_v1_and_a_word_of_io_max_on_v2(name: str, file: str, key: str) -> None:
    section = {name: [{**DISK, "rate": 600}, {"major": 8, "minor": 0, "rate": 1 << 63}]}
    assert words(section, "v1") == [("blkio", file, "8:16 600"), ("blkio", file, f"8:0 {1 << 63}")]
    assert words(section, "v2") == [("io", "io.max", f"8:16 {key}=600"), ("io", "io.max", f"8:0 {key}={1 << 63}")]


@pytest.mark.parametrize(("name", "file", "key"), RATES)
def test_a_rate_of_0_lifts_the_limit(name: str, file: str, key: str) -> None:
    assert words({name: [{**DISK, "rate": 0}]}, "v1") == [("blkio", file, "8:16 0")]
    assert words({name: [{**DISK, "rate": 0}]}, "v2") == [("io", "io.max", f"8:16 {key}=max")]


def test_weights() -> None:
    section = {"weight": 100, "weightDevice": [{**DISK, "weight": 500}]}
    assert words(section, "hybrid") == [("blkio", "blkio.weight", "100"), ("blkio", "blkio.weight_device", "8:16 500")]
    assert words(section, "v2") == [("io", "io.bfq.weight", "100"), ("io", "io.bfq.weight", "8:16 500")]


def test_leaf_weights_are_of_v1_alone() -> None:
    section = {"leafWeight": 10, "weightDevice": [{**DISK, "leafWeight": 300}]}
    assert words(section, "v1") == [("blkio", "blkio.leaf_weight", "10"), ("blkio", "blkio.leaf_weight_device", "8:16 300")]
    with pytest.raises(Unsupported, match=r"^linux.resources.blockIO.leafWeight: cgroup v2"):
        words({"leafWeight": 10}, "v2")
    with pytest.raises(Unsupported, match=r"^linux.resources.blockIO.weightDevice\[0\].leafWeight: cgroup v2"):
        words({"weightDevice": [{**DISK, "leafWeight": 300}]}, "v2")


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_nothing_asked_for_is_nothing_written(mode: str) -> None:
    assert words({"weight": 0, "leafWeight": 0, "weightDevice": [], "throttleReadBpsDevice": []}, mode) == []


@pytest.mark.parametrize(
    ("file", "value", "other"),
    [
        ("blkio.weight", "100", ("blkio.bfq.weight", "100")),
        ("blkio.weight_device", "8:0 100", ("blkio.bfq.weight_device", "8:0 100")),
        ("io.bfq.weight", "1000", ("io.weight", "10000")),
        ("io.bfq.weight", "8:0 10", ("io.weight", "8:0 1")),
        ("blkio.leaf_weight", "10", None),
        ("io.max", "8:0 rbps=1", None),
    ],
)
def test_a_weight_is_told_to_the_scheduler_that_is_there(file: str, value: str, other: tuple[str, str] | None) -> None:
    assert block_io.other_file(file, value) == other


@pytest.mark.parametrize(("weight", "cost"), [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_both_scales_meet_at_their_ends(weight: int, cost: int) -> None:
    assert block_io.cost_weight(weight) == cost
