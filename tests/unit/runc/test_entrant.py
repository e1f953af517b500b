"""What the parent makes of what it hears, from a stub that is real, and from one that lies."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from crate_runc.errors import StepError
from crate_runc.kernel.calls import Call, fail
from crate_runc.plan import Plan
from crate_runc.process.entrant import Entrant, EntryContext, Target
from crate_runc.steps.step import LaunchContext, LaunchStep

if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item


class Said(LaunchStep):
    """A step of these calls."""

    __slots__ = ("items",)

    def __init__(self, *items: Item) -> None:
        self.items = list(items)

    def describe(self) -> str:
        return "say it"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return self.items


class Claim(LaunchStep):
    """Says a record of its own making."""

    __slots__ = ("record",)

    def __init__(self, word: int, number: int) -> None:
        self.record = word.to_bytes(8, "little") + number.to_bytes(8, "little")

    def describe(self) -> str:
        return "claim something"

    def calls(self, launch: LaunchContext) -> list[Item]:
        assert isinstance(launch, EntryContext)
        return [Call("write", launch.socket, self.record, len(self.record))]


def started(*items: Item, claim: Claim | None = None) -> Entrant:
    """A stub that makes these calls before it enters anything, and no more."""
    target = Target(os.getpid())
    plan = Plan()
    plan.begin = [*([claim] if claim else []), Said(*items, Call("exit_group", 7))]
    try:
        return Entrant(EntryContext(target, 40), plan, None, preserved=0, on_host_first=False)
    finally:
        target.close()


def ended(entrant: Entrant) -> str:
    try:
        with pytest.raises(StepError) as caught:
            entrant.enter(None)
        return str(caught.value)
    finally:
        entrant.kill()
        entrant.close()


def test_a_failure_is_told_in_the_words_of_its_step() -> None:
    entrant = started(Call("openat", -100, b"/proc/nosuch\0", 0, 0))
    assert ended(entrant) == "say it: no such file or directory"
    assert ended(started(fail(13, "open the door"))) == "open the door: permission denied"
    assert ended(started(fail(2, "find it", "it is not there"))) == "find it: it is not there"


def test_an_end_without_a_word_is_told() -> None:
    assert ended(started()) == "enter the container: the process ended with status 7"


def test_nothing_of_a_failed_one_is_left() -> None:
    entrant = started(Call("close", -1))
    stub = entrant.stub
    ended(entrant)
    with pytest.raises(ChildProcessError):
        os.waitpid(stub, 0)


@pytest.mark.parametrize("word", [0, 1, 2, 3, 4, 5, 6, 0x411020 + 1, (1 << 64) - 1])
@pytest.mark.parametrize("number", [0, 1, os.getppid(), os.getpid(), 1 << 31, (1 << 64) - 1])
def test_what_is_claimed_is_not_acted_upon(word: int, number: int) -> None:
    """Above all, no process is taken for the container's, and later killed, that is not our child."""
    entrant = started(claim=Claim(word, number))
    assert ended(entrant) == "enter the container: the process there says what it cannot know"
    assert entrant.pid == 0
