"""Which lines follow which while an input is worked on, in our own modules only, and how many: sys.settrace(), or sys.monitoring from Python 3.12 on.

The count stands for time: it is the same on every machine, so that an input which takes too many steps is one wherever it is tried. What C
code does is not counted; a timer on the processor time of this process is there for that.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

SECONDS = 10
"""Of processor time, for one input."""


class TooMuch(BaseException):
    """An input takes too many steps, or too long. No Exception: nothing between here and the engine may catch it."""


class Coverage:
    """`seen` are pairs of lines that followed one another in one function (from 3.12 on: anywhere)."""

    def __init__(self, watched: tuple[str, ...], steps: int) -> None:
        """`watched` begin the file names of the modules that count; an input may take `steps` lines in them."""
        self.seen: set[tuple[CodeType, int, int]] = set()
        self.current: set[tuple[CodeType, int, int]] = set()
        self._watched = watched
        self._allowed = steps
        self._left = 0
        self._last = 0
        self._known: dict[CodeType, bool] = {}
        self._monitoring: Any = getattr(sys, "monitoring", None)
        signal.signal(signal.SIGVTALRM, _expired)

    def run(self, function: Callable[[bytes], None], value: bytes) -> bool:
        """Whether the input went where none has been before. Raises what the function raises, and TooMuch."""
        self._left, self._last, self.current = self._allowed, 0, set()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        start, stop = (self._monitor, self._unmonitor) if self._monitoring else (self._trace, self._untrace)
        start()
        try:
            function(value)
        finally:
            stop()
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            new = not self.current <= self.seen
            self.seen |= self.current
        return new

    def steps(self) -> int:
        """Of the last input."""
        return self._allowed - self._left

    def _is_watched(self, code: CodeType) -> bool:
        found = self._known.get(code)
        if found is None:
            found = self._known[code] = code.co_filename.startswith(self._watched)
        return found

    # sys.settrace: each frame has a function of its own, which knows the line before

    def _trace(self) -> None:
        sys.settrace(self._enter)

    @staticmethod
    def _untrace() -> None:
        sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if not self._is_watched(code):
            return None
        last = 0

        def follow(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            if event == "line":
                line = frame.f_lineno
                self._step(code, last, line)
                last = line
            return follow

        return follow

    def _step(self, code: CodeType, last: int, line: int) -> None:
        self.current.add((code, last, line))
        self._left -= 1
        if self._left < 0:
            raise TooMuch(f"more than {self._allowed} steps")

    # sys.monitoring: lines are told of watched code only

    def _monitor(self) -> None:
        monitoring = self._monitoring
        events = monitoring.events
        monitoring.use_tool_id(monitoring.COVERAGE_ID, "fuzz")
        monitoring.register_callback(monitoring.COVERAGE_ID, events.PY_START, self._begin)
        monitoring.register_callback(monitoring.COVERAGE_ID, events.LINE, self._line)
        monitoring.set_events(monitoring.COVERAGE_ID, events.PY_START)

    def _unmonitor(self) -> None:
        monitoring = self._monitoring
        monitoring.set_events(monitoring.COVERAGE_ID, 0)
        for code, watched in self._known.items():
            if watched:
                monitoring.set_local_events(monitoring.COVERAGE_ID, code, 0)
        monitoring.free_tool_id(monitoring.COVERAGE_ID)

    def _begin(self, code: CodeType, offset: int) -> Any:
        if not self._is_watched(code):
            return self._monitoring.DISABLE
        self._monitoring.set_local_events(self._monitoring.COVERAGE_ID, code, self._monitoring.events.LINE)
        return None

    def _line(self, code: CodeType, line: int) -> None:
        last, self._last = self._last, line
        self._step(code, last, line)


def _expired(number: int, frame: FrameType | None) -> None:
    raise TooMuch(f"more than {SECONDS} seconds of processor time")
