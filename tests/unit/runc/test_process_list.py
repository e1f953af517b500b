"""`ps`: which lines of ps(1) are the container's."""

from __future__ import annotations

import os

import pytest

from crate_runc import process_list
from crate_runc.errors import RuncError

OUTPUT = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 sh -c 34\nroot  34x     1 odd\n"


def test_keeps_the_heading_and_the_lines_of_the_pids() -> None:
    assert process_list.chosen(OUTPUT, {12, 34}) == "UID   PID  PPID CMD\nroot   12     1 sh -c 34\n"


def test_needs_the_column_pid() -> None:
    with pytest.raises(RuncError, match="no column PID; ask for one"):
        process_list.chosen("UID CMD\nroot sh\n", {1})


def test_runs_ps_with_the_callers_options() -> None:
    lines = process_list.table([os.getpid()], ["-o", "pid,ppid", "-p", str(os.getpid())]).splitlines()
    assert [line.split() for line in lines] == [["PID", "PPID"], [str(os.getpid()), str(os.getppid())]]


def test_a_failure_of_ps_is_told() -> None:
    with pytest.raises(RuncError, match="ps --no-such-option: "):
        process_list.table([1], ["--no-such-option"])
