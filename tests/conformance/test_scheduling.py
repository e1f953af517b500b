"""process.scheduler, ioPriority, execCPUAffinity; linux.personality and memoryPolicy: how the kernel runs the program."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")
RT_ALLOWED = host.cgroup_mode() == "v2"  # a new cgroup of v1 has no realtime of its own


def scheduler_of(pid: int | str) -> tuple[int, int]:
    """(policy, nice)"""
    return os.sched_getscheduler(int(pid)) & ~os.SCHED_RESET_ON_FORK, os.getpriority(os.PRIO_PROCESS, int(pid))


def with_process(directory: Path, **properties: Any) -> tuple[str, ...]:
    """Flags for exec that name a file with this process."""
    file = directory / "process.json"
    file.write_text(json.dumps({"cwd": "/", "env": ["PATH=/bin"], **properties}))
    return "--process", str(file)


def allowed(status: str) -> str:
    return next(line.split()[1] for line in status.splitlines() if line.startswith("Cpus_allowed_list:"))


@pytest.mark.parametrize(
    ("scheduler", "policy", "nice"),
    [
        ({"policy": "SCHED_BATCH", "nice": 19}, os.SCHED_BATCH, 19),
        ({"policy": "SCHED_OTHER", "nice": -5}, os.SCHED_OTHER, -5),
        ({"policy": "SCHED_IDLE"}, os.SCHED_IDLE, 0),
    ],
    ids=["batch", "other", "idle"],
)
def test_scheduler(runtime: OciRuntime, bundle: Bundle, scheduler: dict[str, Any], policy: int, nice: int) -> None:
    runtime.needs_spec(1)
    bundle.process["scheduler"] = scheduler
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert scheduler_of(runtime.pid(identity)) == (policy, nice)


def test_scheduler_with_a_deadline(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.needs_spec(1)
    times = {"runtime": 10_000_000, "deadline": 100_000_000, "period": 100_000_000}
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], **times}
    del bundle.linux["resources"]
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert os.sched_getscheduler(runtime.pid(identity)) == 6 | os.SCHED_RESET_ON_FORK


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two processors")
def test_scheduler_with_a_deadline_and_a_cpuset(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.needs_spec(1)
    times = {"runtime": 10_000_000, "deadline": 100_000_000, "period": 100_000_000}
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **times}
    bundle.linux["resources"]["cpu"] = {"cpus": "0"}
    result = runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    assert "process scheduler can't be used together with AllowedCPUs" in result.err


@pytest.mark.parametrize(
    "scheduler",
    [
        {"policy": "SCHED_OTHER", "nice": 20},
        {"policy": "SCHED_OTHER", "priority": 1},
        {"policy": "SCHED_BATCH", "runtime": 1},
        {"policy": "SCHED_WHATEVER"},
        {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_WHATEVER"]},
        {"policy": "SCHED_FIFO", "priority": 100},
    ],
)
def test_scheduler_that_cannot_be(runtime: OciRuntime, bundle: Bundle, scheduler: dict[str, Any]) -> None:
    runtime.needs_spec(1)
    bundle.process["scheduler"] = scheduler
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())


def test_realtime_scheduler(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.needs_spec(1)
    bundle.process["scheduler"] = {"policy": "SCHED_RR", "priority": 3}
    if RT_ALLOWED:
        with runtime.running(bundle.runs(*SLEEP)) as identity:
            assert os.sched_getscheduler(runtime.pid(identity)) == os.SCHED_RR
            assert os.sched_getparam(runtime.pid(identity)).sched_priority == 3
    else:
        result = runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())
        assert "operation not permitted" in result.err


def test_scheduler_of_exec_is_the_containers_or_its_own(runtime: OciRuntime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.needs_spec(1)
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
    show = "cut -d' ' -f19,41 /proc/self/stat"
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert runtime.exec(identity, "/bin/sh", "-c", show).out == "3 3\n"
        own = {"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
        flags = with_process(tmp_path, args=["/bin/sh", "-c", "cut -d' ' -f41 /proc/$$/stat"], scheduler=own)
        assert runtime.exec(identity, flags=flags).out == "5\n"


@pytest.mark.parametrize(
    ("priority", "shown"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 3}, "best-effort: prio 3"),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 0}, "idle"),
        ({"class": "IOPRIO_CLASS_RT", "priority": 7}, "realtime: prio 7"),
    ],
)
def test_io_priority(runtime: OciRuntime, bundle: Bundle, priority: dict[str, Any], shown: str) -> None:
    runtime.needs_spec(1)
    bundle.process["ioPriority"] = priority
    assert runtime.output(bundle.script("ionice -p $$")).strip() == shown


def test_io_priority_of_exec_is_the_containers_or_its_own(runtime: OciRuntime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.needs_spec(1)
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert runtime.exec(identity, "/bin/sh", "-c", "ionice -p $$").out.strip() == "best-effort: prio 6"
        flags = with_process(tmp_path, args=["/bin/sh", "-c", "ionice -p $$"], ioPriority={"class": "IOPRIO_CLASS_IDLE"})
        assert runtime.exec(identity, flags=flags).out.strip() == "idle"


def test_affinity_of_exec(runtime: OciRuntime, bundle: Bundle, tmp_path: Path) -> None:
    runtime.needs_spec(2)
    first = str(min(os.sched_getaffinity(0)))
    bundle.process["execCPUAffinity"] = {"initial": first, "final": first}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        everywhere = allowed(Path(f"/proc/{runtime.pid(identity)}/status").read_text())
        assert everywhere == allowed(Path("/proc/self/status").read_text()), "it is not for the container's first process"
        assert allowed(runtime.exec(identity, "cat", "/proc/self/status").out) == first
        flags = with_process(tmp_path, args=["cat", "/proc/self/status"])
        assert allowed(runtime.exec(identity, flags=flags).out) in (first, everywhere)


@pytest.mark.parametrize("affinity", [{"initial": "x"}, {"final": "1-0"}, {"final": "8000"}])
def test_affinity_that_cannot_be(runtime: OciRuntime, bundle: Bundle, affinity: dict[str, str], tmp_path: Path) -> None:
    runtime.needs_spec(2)
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.fails("exec", *with_process(tmp_path, args=["true"], execCPUAffinity=affinity), identity)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64")
@pytest.mark.parametrize(("domain", "machine"), [("LINUX32", "i686"), ("LINUX", "x86_64")])
def test_personality(runtime: OciRuntime, bundle: Bundle, domain: str, machine: str) -> None:
    runtime.needs_spec(1)
    bundle.linux["personality"] = {"domain": domain, "flags": []}
    assert runtime.output(bundle.runs("uname", "-m")) == f"{machine}\n"


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64")
def test_personality_of_exec_is_the_containers(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.needs_spec(2)
    bundle.linux["personality"] = {"domain": "LINUX32"}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert runtime.exec(identity, "uname", "-m").out == "i686\n"


def test_personality_is_set_before_the_filter_that_forbids_it(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.needs_spec(2)
    bundle.linux["personality"] = {"domain": "LINUX32"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ERRNO"}],
    }
    bundle.process["noNewPrivileges"] = False
    assert runtime.output(bundle.runs("uname", "-m")) == "i686\n"


@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, "interleave:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, "prefer=relative:0"),
        ({"mode": "MPOL_PREFERRED"}, "local"),
        ({"mode": "MPOL_DEFAULT"}, "default"),
    ],
)
def test_memory_policy(runtime: OciRuntime, bundle: Bundle, policy: dict[str, Any], shown: str) -> None:
    runtime.needs_spec(3)
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("needs a kernel with NUMA")
    bundle.linux["memoryPolicy"] = policy
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        inside = runtime.exec(identity, "cat", "/proc/1/numa_maps").out.split()[1]
        added = runtime.exec(identity, "cat", "/proc/self/numa_maps").out.split()[1]
    assert (inside, added) == (shown, shown)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"mode": "INTERLEAVE", "nodes": "0"},
        {"mode": "MPOL_DEFAULT", "nodes": "0-7"},
        {"mode": "MPOL_BIND"},
        {"mode": "MPOL_BIND", "nodes": "0-9876543210"},
        {"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["badflag"]},
        {"mode": "MPOL_BIND", "nodes": "63"},
    ],
)
def test_memory_policy_that_cannot_be(runtime: OciRuntime, bundle: Bundle, policy: dict[str, Any]) -> None:
    runtime.needs_spec(3)
    bundle.linux["memoryPolicy"] = policy
    runtime.fails("run", "--bundle", str(bundle.runs("true").write()), runtime.identity())
