"""The coverage-guided loop: an input that goes where none has been before is kept, and the next ones are made from those.

It runs in a child process with limited memory, since a target may take its process over, and since an input may end it: that is a finding
too. With the same seed, inputs and code the same inputs follow; the time limit only says how many.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import pickle
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.fuzz.coverage import SECONDS, Coverage, TooMuch
from tests.fuzz.mutators import LONGEST
from tests.fuzz.targets import Target, attempt

DIRECTORY = Path(__file__).parent
RSS_BYTES = 256 << 20
_ADDRESS_SPACE = 768 << 20
"""More than what is there at first."""
_FINDINGS = 20


@dataclass
class Outcome:
    """`kept` are the inputs that led to something new, in order; `findings` inputs and what went wrong with them."""

    executions: int = 0
    lines: int = 0
    kept: list[bytes] = field(default_factory=list)
    findings: list[tuple[bytes, str]] = field(default_factory=list)
    most_steps: int = 0
    rss: int = 0
    """Bytes that the process grew by."""


def corpus(target: Target) -> list[bytes]:
    """What is kept of earlier runs, with the regression inputs, the same on every machine."""
    directories = (DIRECTORY / "corpus" / target.name, DIRECTORY / "regressions" / target.name)
    return [path.read_bytes() for directory in directories if directory.is_dir() for path in sorted(directory.iterdir())]


def name_of(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:16]


def fuzz(target: Target, directory: str, *, seed: int, seconds: float, executions: int = 1 << 62) -> Outcome:
    """Runs until one of the limits. `directory` is empty, for the target."""

    def loop(run: Callable[[bytes], bool], outcome: Outcome) -> None:
        random = Random(f"{target.name} {seed}")
        end = time.monotonic() + seconds
        pool = [*target.seeds, *corpus(target)]
        for value in pool:
            run(value)
        while time.monotonic() < end and outcome.executions < executions and len(outcome.findings) < _FINDINGS:
            value = target.mutate(_chosen(pool, random), random)
            if run(value):
                pool.append(value)
                outcome.kept.append(value)

    return _in_child(target, directory, loop)


def replay(target: Target, directory: str, inputs: Sequence[bytes]) -> Outcome:
    """Each input once. `kept` are those that are needed to go everywhere that they all go, the shortest first."""

    def loop(run: Callable[[bytes], bool], outcome: Outcome) -> None:
        outcome.kept = [value for value in sorted(inputs, key=lambda value: (len(value), value)) if run(value)]

    return _in_child(target, directory, loop)


def _chosen(pool: list[bytes], random: Random) -> bytes:
    """What was found last is tried more often; sometimes two are joined."""
    value = random.choice(pool[-16:]) if random.random() < 0.3 else random.choice(pool)
    if random.random() < 0.05:
        other = random.choice(pool)
        value = value[: random.randrange(len(value) + 1)] + other[random.randrange(len(other) + 1) :]
    return value[:LONGEST]


def _in_child(target: Target, directory: str, loop: Callable[[Callable[[bytes], bool], Outcome], None]) -> Outcome:
    shared = mmap.mmap(-1, 8 + 2 * LONGEST)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            outcome = _work(target, directory, loop, shared)
            with open(writing, "wb") as pipe:
                pickle.dump(outcome, pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    return _collect(child, reading, shared)


def _collect(child: int, reading: int, shared: mmap.mmap) -> Outcome:
    """The child's outcome; of one that died or hangs, the input that it was at."""
    content = b""
    counter, since = b"", time.monotonic()
    hung = False
    with open(reading, "rb") as pipe:
        while True:
            ready, _, _ = select.select([pipe], [], [], 1)
            if ready:
                piece = pipe.read1()
                if not piece:
                    break
                content += piece
            elif shared[:8] != counter:
                counter, since = shared[:8], time.monotonic()
            elif not hung and time.monotonic() - since > 12 * SECONDS:
                hung = True
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if status == 0 and content:
        outcome: Outcome = pickle.loads(content)
        return outcome
    size = int.from_bytes(shared[4:8], "little")
    how = "it hangs" if hung else f"the process ended with status {os.waitstatus_to_exitcode(status)}"
    return Outcome(findings=[(shared[8 : 8 + size], how)])


def _work(target: Target, directory: str, loop: Callable[[Callable[[bytes], bool], Outcome], None], shared: mmap.mmap) -> Outcome:
    """In the child."""
    outcome = Outcome()
    coverage = Coverage(target.watched, target.steps)
    _limit_memory()
    function = target.start(directory)
    before = _rss()
    places: set[str] = set()

    def run(value: bytes) -> bool:
        outcome.executions += 1
        shared[0:4] = (outcome.executions & 0xFFFFFFFF).to_bytes(4, "little")
        shared[4:8] = len(value).to_bytes(4, "little")
        shared[8 : 8 + len(value)] = value
        try:
            new = coverage.run(lambda value: attempt(target, function, value), value)
        except (Exception, TooMuch) as error:
            told, place = _told(error, target.watched)
            if place not in places:
                places.add(place)
                outcome.findings.append((value, told))
            return False
        outcome.most_steps = max(outcome.most_steps, coverage.steps())
        return new

    loop(run, outcome)
    outcome.lines = len({(code, line) for code, _, line in coverage.seen})
    outcome.rss = _rss() - before
    return outcome


def _told(error: BaseException, watched: tuple[str, ...]) -> tuple[str, str]:
    """What went wrong, and what makes it another finding than those before: the kind of error and the place of its first cause."""
    first = error.__cause__ or error
    every = list(traceback.extract_tb(first.__traceback__))
    frames = [frame for frame in every if frame.filename.startswith(watched)] or every
    place = f"{type(error).__name__} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else type(error).__name__
    return f"{place}: {error}", place


def _limit_memory() -> None:
    with open("/proc/self/statm", "rb") as file:
        most = int(file.read().split()[0]) * mmap.PAGESIZE + _ADDRESS_SPACE
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _rss() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def write(directory: Path, values: Sequence[bytes]) -> None:
    """Each in a file that is named by its content."""
    directory.mkdir(parents=True, exist_ok=True)
    for value in values:
        (directory / name_of(value)).write_bytes(value)


def report(target: Target, outcome: Outcome) -> None:
    print(
        f"{target.name:10} {outcome.executions:8} inputs  {len(outcome.kept):4} new  {outcome.lines:4} lines reached  "
        f"at most {outcome.most_steps} steps  {outcome.rss >> 20} MiB more  {len(outcome.findings)} findings",
        file=sys.stderr,
    )
