from __future__ import annotations

import signal

import pytest

from crate_engine.errors import UsageError
from crate_engine.stopping import signal_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("TERM", 15),
        ("SIGTERM", 15),
        ("sigkill", 9),
        ("9", 9),
        ("64", 64),
        ("RTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
    ],
)
def test_signals_are_named_as_on_other_command_lines(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize(
    "text", ["", "0", "65", "-9", "NOSUCH", "SIG", "_IGN", "SIG_DFL", "RTMIN+99", "RTMIN+", "RTMIN+x", "９", "TERM+1", "9.0"]
)
def test_unknown_signals_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        signal_number(text)
