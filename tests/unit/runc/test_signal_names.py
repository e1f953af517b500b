"""Signals by name and number, as `kill` takes them."""

from __future__ import annotations

import signal

import pytest

from crate_runc.kernel.signal_names import number_of


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("9", 9),
        ("KILL", 9),
        ("SIGKILL", 9),
        ("sigkill", 9),
        ("term", 15),
        ("64", 64),
        ("0", 0),
        ("RTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("RTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_signals(word: str, number: int) -> None:
    assert number_of(word) == number


@pytest.mark.parametrize(
    "word", ["", "65", "-9", "+9", "9 ", "²", "BOGUS", "SIG", "SIG_BLOCK", "_DFL", "RTMIN+99", "RTMIN-1", "RTMIN+", "KILL+1"]
)
def test_what_is_no_signal(word: str) -> None:
    assert number_of(word) is None
