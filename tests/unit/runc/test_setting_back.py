"""Writes to a cgroup are undone when a later one fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from crate_runc.cgroup import setting_back


@pytest.mark.parametrize(
    ("file", "written", "text", "former"),
    [
        ("pids.max", "5", "max\n", "max"),
        ("cpu.max", "5000 10000", "max 100000\n", "max 100000"),
        ("cpuset.cpus", "0", "0-1\n", "0-1"),
        ("cpuset.cpus", "0", "\n", ""),
        ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "0"),
        ("io.max", "8:0 rbps=5", "8:16 rbps=1 wbps=max riops=max wiops=max\n", "8:0 rbps=max wbps=max riops=max wiops=max"),
        ("io.max", "8:16 rbps=5", "8:16 rbps=1 wbps=max riops=max wiops=max\n", "8:16 rbps=1 wbps=max riops=max wiops=max"),
        ("io.weight", "300", "default 100\n8:0 5\n", "default 100"),
        ("io.weight", "8:1 300", "default 100\n8:0 5\n", "8:1 default"),
        ("blkio.throttle.read_bps_device", "8:0 5", "", "8:0 0"),
        ("net_prio.ifpriomap", "lo 5", "eth0 1\nlo 2\n", "lo 2"),
        ("rdma.max", "mlx hca_handle=1", "mlx hca_handle=7 hca_object=max\n", "mlx hca_handle=7 hca_object=max"),
    ],
)
def test_the_former_value_in_the_form_in_which_it_is_written(file: str, written: str, text: str, former: str) -> None:
    assert setting_back.former(file, written, text) == former


def test_all_is_as_before(tmp_path: Path) -> None:
    before = {"pids.max": "max", "cpu.shares": "1024"}
    for file, text in before.items():
        (tmp_path / file).write_text(text)
    wanted = [("pids", "pids.max", "5"), ("cpu", "cpu.shares", "7"), ("cpu", "cpu.idle", "1"), ("rdma", "rdma.max", "x")]
    undo = setting_back.remember(wanted, {"pids": str(tmp_path), "cpu": str(tmp_path)})
    for file in before:
        (tmp_path / file).write_text("")
    setting_back.restore(undo)
    assert {file: (tmp_path / file).read_text() for file in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(before)
