"""Times commands from outside: started with posix_spawn, awaited with wait4, nothing of what they do looked at.

Contenders of a row take turns, so that whatever else this machine does meets all of them alike. A contender whose first turn fails is left
out with the reason; a later failure ends the run.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
Command = Sequence[str]
_PEAK = Path(__file__).with_name("peak.py").read_text()
_LAST_WORDS = 300


class Failed(Exception):
    """A command that was to be measured ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn: milliseconds from the first start to the last end, and of processor time of the commands and what they waited for."""

    wall: float
    cpu: float


@dataclass(slots=True)
class Contender:
    """`commands` gets a name that no other turn has, and returns what is timed as a whole; `before` and `after` are not timed."""

    name: str
    commands: Callable[[str], Sequence[Command]]
    before: Callable[[str], None] = lambda name: None
    after: Callable[[str], None] = lambda name: None
    samples: list[Sample] = field(default_factory=list)
    peak: int | None = None
    """KiB of the largest single process among the commands and what they waited for; None: not measured."""
    failure: str = ""

    @property
    def median(self) -> float:
        return statistics.median(sample.wall for sample in self.samples)

    @property
    def least(self) -> float:
        return min(sample.wall for sample in self.samples)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)


@dataclass(slots=True)
class Row:
    """The first contender is ours; the others are what it is held against."""

    section: str
    what: str
    contenders: list[Contender]
    compared: bool = True
    """False: the parts of one thing, which are not held against each other."""
    share: float = 1.0
    """Of the number of turns that was asked for: long ones take fewer."""


class Runner:
    """Runs commands with one environment. `scratch` is a directory for what they say; `python` is one that the caller can execute."""

    def __init__(self, environment: Mapping[str, str], scratch: Path, python: Path) -> None:
        self.environment = dict(environment)
        self.python = str(python)
        self._errors = scratch / "stderr"
        self._output = scratch / "stdout"
        self._number = 0

    def turn(self, commands: Sequence[Command]) -> Sample:
        used = 0.0
        begun = time.perf_counter_ns()
        for command in commands:
            pid = self._spawn(command)
            _, status, usage = os.wait4(pid, 0)
            used += usage.ru_utime + usage.ru_stime
            if status:
                raise Failed(self._complaint(command, os.waitstatus_to_exitcode(status)))
        return Sample((time.perf_counter_ns() - begun) / 1e6, used * 1e3)

    def peak(self, commands: Sequence[Command]) -> int:
        """KiB. A process that another one starts begins with the peak of that one, so a small interpreter starts them here."""
        result = 0
        for command in commands:
            measuring = [self.python, "-I", "-S", "-c", _PEAK, *command]
            done = subprocess.run(
                measuring, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            status, peak = done.stdout.split()[-2:]
            if int(status):
                raise Failed(f"{' '.join(command)}: status {int(status)}")
            result = max(result, int(peak))
        return result

    def call(self, *command: str) -> str:
        """Not timed; returns standard output. Raises Failed."""
        self._output.unlink(missing_ok=True)
        # files, not pipes: a container that stays would hold a pipe open
        with open(self._output, "wb") as output, open(self._errors, "wb") as errors:
            done = subprocess.run(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        if done.returncode:
            raise Failed(self._complaint(command, done.returncode))
        return self._output.read_text()

    def measure(self, row: Row, turns: int, *, warm_up: int = 2) -> None:
        turns = max(3, round(turns * row.share))
        for contender in row.contenders:
            try:
                for _ in range(max(1, round(warm_up * row.share))):
                    self._one(contender, self.turn)
                contender.peak = self._one(contender, self.peak)
            except Failed as failure:
                contender.failure = str(failure)
        for number in range(turns):
            running = [contender for contender in row.contenders if not contender.failure]
            for place in range(len(running)):
                contender = running[(number + place) % len(running)]
                contender.samples.append(self._one(contender, self.turn))

    def _one(self, contender: Contender, how: Callable[[Sequence[Command]], T]) -> T:
        self._number += 1
        name = f"b{os.getpid()}x{self._number}"
        contender.before(name)
        try:
            return how(contender.commands(name))
        finally:
            contender.after(name)

    def _spawn(self, command: Command) -> int:
        streams = (
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, str(self._errors), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        )
        default = [signal.SIGPIPE]  # Python ignores it, and that would be inherited
        return os.posix_spawn(command[0], list(command), self.environment, file_actions=streams, setsigdef=default)

    def _complaint(self, command: Command, status: int) -> str:
        return f"{' '.join(command)}: status {status}: {last_line(self._errors.read_text(errors='replace'))}"


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][-_LAST_WORDS:] if lines else ""
