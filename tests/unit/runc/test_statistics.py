"""The figures of a container, from files as the kernel writes them. The conformance tests compare with runc's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crate_runc.cgroup import statistics
from crate_runc.errors import CgroupError

V1 = {
    "cpuacct.usage": "10219335\n",
    "cpuacct.stat": "user 3\nsystem 1\n",
    "cpuacct.usage_percpu": "1938243 8281092 \n",
    "cpuacct.usage_all": "cpu user system\n0 0 8000000\n1 5 7\n",
    "cpu.stat": "nr_periods 4\nnr_throttled 0\nthrottled_time 99\n",
    "cpuset.cpus": "0-2,7\n",
    "cpuset.mems": "0\n",
    "cpuset.cpu_exclusive": "0\n",
    "cpuset.sched_relax_domain_level": "-1\n",
    "memory.stat": "cache 5\nrss 0\n",
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.usage_in_bytes": "983040\n",
    "memory.max_usage_in_bytes": "2772992\n",
    "memory.failcnt": "0\n",
    "pids.current": "1\n",
    "pids.max": "max\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\n8:0 Discard 0\nTotal 4096\n",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 1\nTotal 1\n",
}
V2 = {
    "cpu.stat": "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 0\nnr_throttled 2\nthrottled_usec 5\n",
    "cpu.pressure": "some avg10=0.00 avg60=1.50 avg300=0.04 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory.stat": "anon 1\nfile 2\n",
    "memory.current": "100\n",
    "memory.max": "1000\n",
    "memory.peak": "200\n",
    "memory.swap.current": "7\n",
    "memory.swap.max": "50\n",
    "pids.current": "3\n",
    "pids.max": "10\n",
    "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n253:0 \n",
}


def figures(tmp_path: Path, content: dict[str, str], mode: str) -> dict[str, Any]:
    for file, text in content.items():
        (tmp_path / file).write_text(text)
    names = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio") if mode == "v1" else ("",)
    return statistics.read(dict.fromkeys(names, str(tmp_path)), mode)


def test_v1(tmp_path: Path) -> None:
    found = figures(tmp_path, V1, "v1")
    usage = {"limit": 9223372036854771712, "usage": 983040, "max": 2772992, "failcnt": 0}
    assert found["cpu"] == {
        "usage": {
            "total": 10219335,
            "percpu": [1938243, 8281092],
            "percpu_kernel": [8000000, 7],
            "percpu_user": [0, 5],
            "kernel": 10000000,
            "user": 30000000,
        },
        "throttling": {"periods": 4, "throttledTime": 99},
    }
    assert found["cpuset"]["cpus"] == [0, 1, 2, 7]
    assert found["cpuset"]["sched_relax_domain_level"] == -1
    assert found["memory"]["usage"] == usage
    assert found["memory"]["swap"] == {"limit": 0, "failcnt": 0}
    assert (found["memory"]["cache"], found["memory"]["raw"]) == (5, {"cache": 5, "rss": 0})
    assert found["pids"] == {"current": 1}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Discard"}],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}],
    }
    assert (found["hugetlb"], found["intel_rdt"], found["network_interfaces"]) == ({}, {}, None)


def test_v2_has_the_same_names(tmp_path: Path) -> None:
    found = figures(tmp_path, V2, "v2")
    assert found["cpu"]["usage"] == {"total": 30000, "kernel": 20000, "user": 10000}
    assert found["cpu"]["throttling"] == {"throttledPeriods": 2, "throttledTime": 5000}
    assert found["cpu"]["psi"]["some"] == {"avg10": 0, "avg60": 1.5, "avg300": 0.04, "total": 12}
    assert found["memory"]["usage"] == {"limit": 1000, "usage": 100, "max": 200, "failcnt": 0}
    assert found["memory"]["swap"] == {"limit": 1050, "usage": 107, "failcnt": 0}
    assert found["memory"]["cache"] == 2
    assert "psi" not in found["memory"]
    assert found["pids"] == {"current": 3, "limit": 10}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}, {"major": 8, "op": "Write"}],
        "ioServicedRecursive": [{"major": 8, "op": "Read", "value": 1}, {"major": 8, "op": "Write"}],
    }
    assert set(found["cpuset"].values()) == {0}


def test_no_limit_is_the_largest_number_but_for_pids(tmp_path: Path) -> None:
    found = figures(tmp_path, V2 | {"memory.max": "max\n", "pids.max": "max\n"}, "v2")
    assert found["memory"]["usage"]["limit"] == found["memory"]["swap"]["limit"] == (1 << 64) - 1
    assert found["pids"] == {"current": 3}


def test_a_controller_that_is_not_there_counts_nothing(tmp_path: Path) -> None:
    found = figures(tmp_path, {"cgroup.procs": "5\n6\n"}, "v2")
    assert found["pids"] == {"current": 2}
    assert found["memory"]["usage"] == {"limit": 0, "failcnt": 0}
    assert "limit" in figures(tmp_path, {}, "v1")["memory"]["usage"]


def test_without_a_cgroup_there_are_no_figures(tmp_path: Path) -> None:
    for paths in ({}, {"": f"{tmp_path}/gone"}):
        with pytest.raises(CgroupError, match="read the figures of the container: it has no cgroup"):
            statistics.read(paths, "v2")


@pytest.mark.parametrize(("text", "numbers"), [("", []), ("0", [0]), ("0-2,7", [0, 1, 2, 7]), ("3,5-5", [3, 5])])
def test_ranges(text: str, numbers: list[int]) -> None:
    assert statistics.expand(text) == numbers


def test_sizes_of_huge_pages_are_named_as_files_name_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (64, 2048, 1048576):
        (tmp_path / "sizes" / f"hugepages-{size}kB").mkdir(parents=True)
    monkeypatch.setattr(statistics, "_HUGE_PAGES", str(tmp_path / "sizes"))
    assert sorted(statistics.huge_page_sizes()) == ["1GB", "2MB", "64KB"]
    v2 = tmp_path / "v2"
    v2.mkdir()
    content = {
        "hugetlb.2MB.rsvd.current": "5\n",
        "hugetlb.2MB.current": "9\n",
        "hugetlb.2MB.events": "max 3\n",
        "hugetlb.64KB.current": "0\n",
    }
    assert figures(v2, content, "v2")["hugetlb"] == {"2MB": {"usage": 5, "failcnt": 3}, "64KB": {"failcnt": 0}}
