"""events: figures of a container and its want of memory as lines of JSON, in the shape of runc."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.conformance.test_cgroup import V2, cgroup_of, limited, no_parent_left  # noqa: F401
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

M = 1 << 20


def figures(runtime: OciRuntime, identity: str) -> dict[str, Any]:
    event = json.loads(runtime.call("events", "--stats", identity).out)
    assert (event["type"], event["id"]) == ("stats", identity)
    data: dict[str, Any] = event["data"]
    return data


def test_figures_are_those_of_runc(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, pids={"limit": 20}, memory={"limit": 64 * M, "swap": 96 * M})
    with runtime.running(bundle) as identity:
        found = figures(runtime, identity)
    assert set(found) >= {"cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"}
    assert found["pids"] == {"current": 1, "limit": 20}
    assert found["memory"]["usage"]["limit"] == 64 * M
    assert 0 < found["memory"]["usage"]["usage"] < 64 * M
    assert found["memory"]["swap"]["limit"] == 96 * M
    assert found["memory"]["raw"]["pgfault"] > 0
    assert found["cpu"]["usage"]["total"] > 0
    assert {"kernel", "user"} <= set(found["cpu"]["usage"])
    assert set(found["cpuset"]) >= {
        "cpu_exclusive",
        "mem_hardwall",
        "memory_migrate",
        "sched_load_balance",
        "sched_relax_domain_level",
    }
    assert (found["intel_rdt"], found["network_interfaces"]) == ({}, None)


def test_figures_have_the_same_names_everywhere(runtime: OciRuntime, bundle: Bundle) -> None:
    """Whatever the kernel counts: the same members at every place."""
    limited(bundle, memory={"limit": 64 * M})
    with runtime.running(bundle) as identity:
        found = names(figures(runtime, identity))
        assert found >= EVERYWHERE, EVERYWHERE - found


EVERYWHERE = {
    "blkio",
    "cpu.throttling",
    "cpu.usage.kernel",
    "cpu.usage.total",
    "cpu.usage.user",
    "cpuset.cpu_exclusive",
    "cpuset.mem_exclusive",
    "cpuset.mem_hardwall",
    "cpuset.memory_migrate",
    "cpuset.memory_pressure",
    "cpuset.memory_spread_page",
    "cpuset.memory_spread_slab",
    "cpuset.sched_load_balance",
    "cpuset.sched_relax_domain_level",
    "hugetlb",
    "intel_rdt",
    "memory.kernel.failcnt",
    "memory.kernel.limit",
    "memory.kernelTCP.failcnt",
    "memory.kernelTCP.limit",
    "memory.raw",
    "memory.swap.failcnt",
    "memory.swap.limit",
    "memory.usage.failcnt",
    "memory.usage.limit",
    "memory.usage.usage",
    "network_interfaces",
    "pids.current",
}


def names(value: Any, where: str = "") -> set[str]:
    if not isinstance(value, dict) or not value or where in ("blkio", "memory.raw", "hugetlb"):
        return {where}
    return {name for key in value for name in names(value[key], f"{where}.{key}" if where else key)} | (
        {where} if where == "cpu.throttling" else set()
    )


@contextmanager
def following(runtime: OciRuntime, identity: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    process = runtime.account.popen(
        runtime.command("events", *flags, identity), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_figures_come_at_the_interval(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(limited(bundle)) as identity, following(runtime, identity, "--interval", "100ms") as process:
        assert process.stdout is not None
        for _ in range(3):
            assert json.loads(process.stdout.readline())["type"] == "stats"


def test_want_of_memory_is_an_event(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    limited(bundle, memory={"limit": 16 * M, "swap": 16 * M})
    bundle.script("while [ ! -e /go ]; do sleep 0.05; done; dd if=/dev/zero of=/dev/null bs=256M count=1; exec sleep 1000")
    with runtime.running(bundle) as identity, following(runtime, identity, "--interval", "300ms") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "stats"  # it watches
        (bundle.rootfs / "go").touch()
        kinds = []
        while "oom" not in kinds:
            event = json.loads(process.stdout.readline())
            kinds.append(event["type"])
            assert event["id"] == identity
        assert event == {"type": "oom", "id": identity}


def test_it_ends_with_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(limited(bundle)) as identity, following(runtime, identity, "--interval", "200ms") as process:
        assert process.stdout is not None
        process.stdout.readline()
        runtime.call("delete", "--force", identity)
        eventually(lambda: process.poll() is not None, "it ends")
        assert process.returncode == 0


def test_a_paused_container_has_figures(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(limited(bundle)) as identity:
        runtime.call("pause", identity)
        assert figures(runtime, identity)["pids"]["current"] == 1
        runtime.call("resume", identity)


@pytest.mark.parametrize(
    ("interval", "what"), [("0s", "duration interval must be greater than 0"), ("5", "parse error"), ("x", "parse error")]
)
def test_an_interval_that_is_none_is_an_error(runtime: OciRuntime, bundle: Bundle, interval: str, what: str) -> None:
    with runtime.running(limited(bundle)) as identity:
        assert what in runtime.fails("events", "--interval", interval, identity).err


def test_a_stopped_container_has_no_events(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert f"container with id {identity} is not running" in runtime.fails("events", identity).err
    assert "container does not exist" in runtime.fails("events", "nosuch").err


def test_pressure_is_among_the_figures_of_v2(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc" or not V2:
        pytest.skip("needs cgroup v2, and a runtime that knows pressure, as runc since 1.2")
    with runtime.running(limited(bundle)) as identity:
        if not (cgroup_of(runtime.pid(identity), "cpu") / "cpu.pressure").exists():
            pytest.skip("needs a kernel that counts pressure")
        found = figures(runtime, identity)
        for section in ("cpu", "memory", "blkio"):
            assert set(found[section]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}
