"""What `update` is told, by flags and by files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_runc import cli, update_flags
from crate_runc.errors import BundleError, RuncError, UsageError


def told(*argv: str) -> dict[str, object]:
    return update_flags.resources(cli.parse(["update", *argv, "c1"], {}).values)


@pytest.mark.parametrize(
    ("flag", "value", "section", "name", "number"),
    [
        ("blkio-weight", "100", "blockIO", "weight", 100),
        ("cpu-burst", "5", "cpu", "burst", 5),
        ("cpu-idle", "0", "cpu", "idle", 0),
        ("cpu-period", "10000", "cpu", "period", 10000),
        ("cpu-quota", "-1", "cpu", "quota", -1),
        ("cpu-rt-period", "7", "cpu", "realtimePeriod", 7),
        ("cpu-rt-runtime", "6", "cpu", "realtimeRuntime", 6),
        ("cpu-share", "512", "cpu", "shares", 512),
        ("kernel-memory", "1m", "memory", "kernel", 1 << 20),
        ("kernel-memory-tcp", "1k", "memory", "kernelTCP", 1024),
        ("memory", "512m", "memory", "limit", 512 << 20),
        ("memory-reservation", "1.5g", "memory", "reservation", 3 << 29),
        ("memory-swap", "-1", "memory", "swap", -1),
        ("pids-limit", "-1", "pids", "limit", -1),
        ("pids-limit", "0", "pids", "limit", 0),
    ],
)
def test_each_flag_is_a_property(flag: str, value: str, section: str, name: str, number: int) -> None:
    assert told(f"--{flag}", value) == told(f"--{flag}={value}") == {section: {name: number}}


def test_every_flag_of_the_table_is_of_the_command_line() -> None:
    known = set(cli.VERBS["update"][0])
    assert set(update_flags.FLAGS) | {"cpuset-cpus", "cpuset-mems", "resources", "l3-cache-schema", "mem-bw-schema"} == known


def test_lists_of_processors_and_nodes() -> None:
    assert told("--cpuset-cpus", "0-2,7", "--cpuset-mems", "0") == {"cpu": {"cpus": "0-2,7", "mems": "0"}}
    with pytest.raises(BundleError, match=r"^linux.resources.cpu.cpus: must be a list like 0-3,7"):
        told("--cpuset-cpus", "all")


def test_no_flag_is_nothing() -> None:
    assert told() == told("--memory", "") == {}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("1b", 1),
        ("1k", 1024),
        ("1K", 1024),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("1 MiB", 1 << 20),
        ("0.5g", 1 << 29),
        ("1.0005k", 1024),
        ("2t", 1 << 41),
        ("1p", 1 << 50),
        ("-1", -1),
    ],
)
def test_sizes_have_units_of_1024(text: str, size: int) -> None:
    assert update_flags.size_of("memory", text) == size


@pytest.mark.parametrize("text", ["12q", "m", ".5m", "1.2.3m", "-5", "1mm", "1e3", "0x10", "1ib", "ib", "b", "９", "1" * 30])
def test_what_is_no_size_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=f'invalid value "{text}" for --memory: not a size such as 512m or 1.5g'):
        update_flags.size_of("memory", text)


@pytest.mark.parametrize("text", ["5k", "--5", "1.5", "x", "９"])
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r'invalid value ".*" for --cpu-share: not a whole number'):
        told("--cpu-share", text)


def test_a_flag_obeys_the_rules_of_its_property() -> None:
    with pytest.raises(BundleError, match=r"^linux.resources.blockIO.weight: must be from 10 to 1000, not 5"):
        told("--blkio-weight", "5")
    with pytest.raises(BundleError, match=r"^linux.resources.cpu.period: must be from 0"):
        told("--cpu-period", "-5")


def test_a_file_is_taken_instead_of_flags(tmp_path: Path) -> None:
    file = tmp_path / "resources"
    file.write_text('{"pids": {"limit": 5}, "memory": null}')
    assert told("--resources", str(file), "--memory", "5m") == told("-r", str(file)) == {"pids": {"limit": 5}}


def test_a_dash_is_standard_input() -> None:
    before = os.dup(0)
    reader, writer = os.pipe()
    os.write(writer, b'{"cpu": {"shares": 7}}')
    os.close(writer)
    os.dup2(reader, 0)
    try:
        assert told("-r", "-") == {"cpu": {"shares": 7}}
        os.fstat(0)  # still open
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reader)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "not JSON"),
        ("[]", r"^linux.resources: must be an object"),
        ('{"memory": {"limit": "5m"}}', r"^linux.resources.memory.limit: must be a whole number"),
        ('{"memory": {"limit": 5, "limit": 6}}', 'the name "limit" appears twice'),
        ('{"unified": {"../x.y": "1"}}', "is not a file of a cgroup controller"),
    ],
)
def test_a_file_that_says_nothing_right_is_an_error(text: str, what: str, tmp_path: Path) -> None:
    (tmp_path / "resources").write_text(text)
    with pytest.raises(RuncError, match=what):
        told("--resources", str(tmp_path / "resources"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuncError, match=rf"^read resources {tmp_path}/none: no such file or directory"):
        told("--resources", f"{tmp_path}/none")
