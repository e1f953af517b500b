"""A short run of every fuzz target, what earlier runs have found, and the fuzzer itself: that it finds what there is to find.

CRATE_FUZZ_SECONDS is for all targets together, CRATE_FUZZ_SEED makes a run the same again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from crate_engine.errors import ImageError
from tests.fuzz import fuzzer
from tests.fuzz.fuzzer import Outcome
from tests.fuzz.mutators import octets
from tests.fuzz.scratch import Escaped, Scratch
from tests.fuzz.targets import TARGETS, Target

SECONDS = float(os.environ.get("CRATE_FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("CRATE_FUZZ_SEED", "1"))
MOST_CORPUS_BYTES = 2 << 20


def _explain(target: Target, outcome: Outcome) -> str:
    lines = [f"target {target.name}, seed {SEED}; {outcome.executions} inputs"]
    return "\n".join([*lines, *(f"{told}\n  {value[:300]!r}" for value, told in outcome.findings)])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_what_was_found_before_stays_mended(target: Target, tmp_path: Path) -> None:
    outcome = fuzzer.replay(target, str(tmp_path), [*target.seeds, *fuzzer.corpus(target)])
    assert not outcome.findings, _explain(target, outcome)
    assert outcome.executions == len(target.seeds) + len(fuzzer.corpus(target))


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_new_inputs_raise_nothing_but_the_targets_own_errors(target: Target, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    outcome = fuzzer.fuzz(target, str(tmp_path), seed=SEED, seconds=SECONDS / len(TARGETS))
    assert not outcome.findings, _explain(target, outcome)
    assert outcome.executions > len(target.seeds)
    assert outcome.rss < fuzzer.RSS_BYTES


def test_the_corpus_is_small_and_each_file_is_named_by_its_content() -> None:
    files = [path for name in ("corpus", "regressions") for path in (fuzzer.DIRECTORY / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST_CORPUS_BYTES
    for path in files:
        assert path.parent.name in TARGETS
        assert path.parent.parent.name == "regressions" or path.name == fuzzer.name_of(path.read_bytes())


# the fuzzer itself


def _planted(function: Callable[[bytes], None], steps: int = 1000) -> Target:
    def mutate(value: bytes, random: Random) -> bytes:
        return octets(value, random)

    return Target("planted", lambda directory: function, (ImageError,), mutate, [b"0000"], steps, (__file__,))


def _behind_three_doors(value: bytes) -> None:
    """Found by chance once in 16 million inputs of this length; step by step it is a matter of thousands."""
    if value[:1] == b"\x31":
        if value[1:2] == b"\x32":
            if value[2:3] == b"\x34":
                raise KeyError("found")
        else:
            raise ImageError("its own error")


def _endless(value: bytes) -> None:
    while value != b"0000":
        pass


def _greedy(value: bytes) -> None:
    if value != b"0000":
        bytearray(4 << 30)


def _deadly(value: bytes) -> None:
    if value != b"0000":
        os.kill(os.getpid(), signal.SIGKILL)


def _rude(value: bytes) -> None:
    raise ImageError("two\nlines")


def test_coverage_leads_to_what_is_behind_several_conditions(tmp_path: Path) -> None:
    outcome = fuzzer.fuzz(_planted(_behind_three_doors), str(tmp_path), seed=1, seconds=200, executions=60_000)
    assert [told for _, told in outcome.findings] != []
    value, told = outcome.findings[0]
    assert value.startswith(b"124")
    assert "KeyError" in told


@pytest.mark.parametrize(
    ("function", "expected"),
    [(_endless, "TooMuch"), (_greedy, "MemoryError"), (_deadly, "status -9"), (_rude, "not a line for people")],
    ids=["endless", "greedy", "deadly", "rude"],
)
def test_other_ways_to_go_wrong_are_found(tmp_path: Path, function: Callable[[bytes], None], expected: str) -> None:
    outcome = fuzzer.fuzz(_planted(function), str(tmp_path), seed=1, seconds=200, executions=500)
    assert outcome.findings
    assert expected in outcome.findings[0][1]


@pytest.mark.parametrize("way", ["write", "mode", "link", "beside", "descriptor"])
def test_the_canary_tells_of_every_change(tmp_path: Path, way: str) -> None:
    def start(directory: str) -> Callable[[bytes], None]:
        scratch = Scratch(directory)

        def run(value: bytes) -> None:
            root = scratch.fresh()
            scratch_file = os.open("canary/file", os.O_RDONLY)
            if way == "write":
                Path("canary/file").write_bytes(b"")
            elif way == "mode":
                os.chmod(scratch_file, 0o640)
            elif way == "link":
                os.link("canary/file", "fs/x")
            elif way == "beside":
                os.mkdir("other")
            if way != "descriptor":
                os.close(scratch_file)
            os.close(root)
            scratch.check()

        return run

    target = Target("planted", start, (ImageError,), octets, [], 1000)
    outcome = fuzzer.replay(target, str(tmp_path), [b"x"])
    assert [told.partition(" ")[0] for _, told in outcome.findings] == [Escaped.__name__]


def test_the_same_seed_leads_to_the_same_inputs(tmp_path: Path) -> None:
    runs = [fuzzer.fuzz(TARGETS["digest"], str(tmp_path), seed=5, seconds=200, executions=2000) for _ in range(2)]
    assert (runs[0].kept, runs[0].lines, runs[0].most_steps) == (runs[1].kept, runs[1].lines, runs[1].most_steps)
