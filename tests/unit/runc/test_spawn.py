from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from crate_runc.kernel import spawn


def _sh(script: str, text: bytes = b"", timeout: float | None = 10) -> tuple[int, bytes]:
    return spawn.run("/bin/sh", ["sh", "-c", script], {"A": "b"}, text, timeout=timeout)


def test_gives_the_text_and_returns_status_and_output() -> None:
    assert _sh("cat; echo err >&2; exit 3", b"in ") == (3, b"in err\n")


def test_a_signal_is_a_negative_status() -> None:
    assert _sh("kill -9 $$") == (-9, b"")


def test_the_environment_is_only_what_is_given() -> None:
    assert spawn.run("/usr/bin/env", ["env"], {"A": "b"}, b"", timeout=10) == (0, b"A=b\n")


def test_the_working_directory_is_the_root() -> None:
    assert _sh("pwd") == (0, b"/\n")


def test_no_other_descriptor_is_passed_on() -> None:
    extra = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(extra, True)
    _, output = _sh(f"test -e /proc/self/fd/{extra} && echo leaked")
    os.close(extra)
    assert output == b""


def test_what_is_late_is_killed() -> None:
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        _sh("sleep 1000", timeout=0.2)
    assert time.monotonic() - before < 5


def test_what_a_late_program_started_is_killed_too(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        _sh(f"sleep 1000 & echo $! > {tmp_path}/child; wait", timeout=0.5)
    child = (tmp_path / "child").read_text().strip()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and os.path.exists(f"/proc/{child}") and _state(child) not in "ZX":
        time.sleep(0.01)
    assert not os.path.exists(f"/proc/{child}") or _state(child) in "ZX"


def test_what_a_program_in_good_time_started_is_let_alone() -> None:
    _, output = _sh("sleep 5 > /dev/null 2>&1 & echo $!")
    assert _state(output.decode().strip()) not in "ZX"
    os.kill(int(output), 9)


def _state(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(") ")[2][0]
    except OSError:
        return "X"


def test_a_program_that_reads_nothing_does_not_block() -> None:
    assert _sh("exit 0", b"x" * 1_000_000) == (0, b"")


def test_much_output_is_cut_and_does_not_block() -> None:
    status, output = _sh("head -c 1000000 /dev/zero")
    assert status == 0
    assert len(output) == 64 << 10


def test_a_program_left_in_the_background_is_not_waited_for() -> None:
    before = time.monotonic()
    assert _sh("sleep 5 & exit 0")[0] == 0
    assert time.monotonic() - before < 4


def test_a_missing_program_raises() -> None:
    with pytest.raises(FileNotFoundError):
        spawn.run("/nonexistent", ["x"], {}, b"", timeout=10)
