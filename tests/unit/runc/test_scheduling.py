"""process.scheduler, ioPriority and execCPUAffinity: the plan, the bytes for the kernel, and what can be done to a process of one's own."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from crate_runc.errors import StepError
from crate_runc.kernel import scheduling as kernel
from crate_runc.steps import scheduling


@pytest.fixture
def process() -> Iterator[Any]:
    """A parent's context with a process that waits."""
    with subprocess.Popen(["sleep", "60"]) as child:
        yield SimpleNamespace(pid=child.pid)
        child.kill()


def texts(steps: list[Any]) -> list[str]:
    return [step.describe() for step in steps]


ALL: dict[str, Any] = {
    "scheduler": {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RECLAIM"], "runtime": 1, "deadline": 2, "period": 3},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
    "execCPUAffinity": {"initial": "0-1", "final": "1"},
}


def test_the_affinity_is_for_exec_alone() -> None:
    assert texts(scheduling.plan_attach(ALL, processors="", is_exec=False)) == [
        "set the scheduler SCHED_DEADLINE runtime 1 deadline 2 period 3 SCHED_FLAG_RECLAIM",
        "set the I/O priority IOPRIO_CLASS_BE 4",
    ]
    assert texts(scheduling.plan_prepare(ALL)) == ["run the process on processors 0-1 until it is in its cgroup"]
    assert texts(scheduling.plan_attach(ALL, processors="", is_exec=True))[0] == "run the process on processors 1 from now on"


@pytest.mark.parametrize("affinity", [{}, {"initial": "", "final": ""}])
def test_an_empty_list_asks_for_nothing(affinity: dict[str, str]) -> None:
    asked = {"execCPUAffinity": affinity}
    assert scheduling.plan_prepare(asked) == scheduling.plan_attach(asked, processors="", is_exec=True) == []


def test_the_bytes_are_those_of_struct_sched_attr() -> None:
    text = kernel.attributes(6, flags=3, nice=-5, priority=7, runtime=1, deadline=2, period=3)
    assert struct.unpack("=IIQiIQQQII", text) == (56, 6, 3, -5, 7, 1, 2, 3, 0, 0)


def test_the_scheduler_of_another_process_is_set(process: Any) -> None:
    scheduling.Scheduler({"policy": "SCHED_BATCH", "nice": 7}, "").apply(process)
    assert os.sched_getscheduler(process.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == 7


def test_a_policy_that_no_kernel_has_is_told(process: Any) -> None:
    with pytest.raises(StepError, match=r"^error setting scheduler: SCHED_ISO: invalid argument; the kernel has no such policy$"):
        scheduling.Scheduler({"policy": "SCHED_ISO"}, "").apply(process)


def test_the_affinity_of_another_process_is_set(process: Any) -> None:
    first = min(os.sched_getaffinity(0))
    scheduling.Affinity(str(first), "").apply(process)
    assert os.sched_getaffinity(process.pid) == {first}


def test_processors_that_are_not_there_are_an_error(process: Any) -> None:
    with pytest.raises(StepError, match=r"^set CPU affinity to 8000: none of them is there and allowed$"):
        scheduling.Affinity("8000", "").apply(process)


def test_the_io_priority_of_another_process_is_set(process: Any) -> None:
    scheduling.IoPriority("IOPRIO_CLASS_IDLE", 0).apply(process)
    scheduling.IoPriority("IOPRIO_CLASS_BE", 5).apply(process)
