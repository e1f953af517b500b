"""Durations, and the alarm of cgroup v2 on a file that stands in for memory.events. The kernel's own are used in the conformance tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from crate_runc import events
from crate_runc.errors import CgroupError, RuncError, UsageError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5.0), ("100ms", 0.1), ("1m30s", 90.0), ("1.5h", 5400.0), ("2us", 2e-6), ("3µs", 3e-6), (".5s", 0.5)],
)
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert events.seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "5s3", "1..5s", "5 s;", "--5s"])
def test_what_is_no_duration_is_named(text: str) -> None:
    with pytest.raises(UsageError, match="for flag -interval: parse error"):
        events.seconds_of(text)


@pytest.mark.parametrize("text", ["0s", "-5s"])
def test_an_interval_is_more_than_nothing(text: str) -> None:
    with pytest.raises(RuncError, match="duration interval must be greater than 0"):
        events.seconds_of(text)


def test_the_alarm_of_v2_rings_once_for_each_rise_of_the_count(tmp_path: Path) -> None:
    file = tmp_path / "memory.events"
    file.write_text("low 0\noom 0\noom_kill 2\n")
    alarm = events._AlarmV2({"": str(tmp_path)})
    try:
        assert not alarm.rang()
        file.write_text("low 1\noom 0\noom_kill 2\n")
        assert not alarm.rang()
        file.write_text("low 1\noom 1\noom_kill 3\n")
        assert alarm.rang()
        assert not alarm.rang()
    finally:
        alarm.close()


def test_without_a_memory_cgroup_there_is_no_alarm(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match="it has no memory cgroup"):
        events._AlarmV1({"pids": "/x"})
    with pytest.raises(CgroupError, match="it has no memory cgroup"):
        events._AlarmV2({})
    with pytest.raises(CgroupError, match=r"watch the memory of cgroup .*: the controller memory is not handed down to it"):
        events._AlarmV2({"": str(tmp_path)})
