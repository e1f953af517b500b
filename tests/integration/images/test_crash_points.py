"""pull, rmi, load and prune killed before any call that changes something, or with any such call failing: nothing is damaged, nothing is lost.

After each: the store has no damage; what was acknowledged is there; the same command succeeds; nothing is left over; and a second repair does
nothing. CRATE_TEST_CRASH_POINTS=1 takes every call in place of one of each kind, 3 every third.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support import host
from tests.support.crash import CHANGING, Crasher, files
from tests.support.engine import Crate
from tests.support.programs import Account, Result, eventually

SHARED = layer({"bin/": b"", "bin/a": b"#!" * 40000, "etc/": b"", "etc/name": b"base"})
OWN = layer({"etc/": b"", "etc/name": b"above", "etc/link": b"x"})
KILLS_PER_CALL = 1
FAILURES = ("ENOSPC", "EIO", "EMFILE", "EINTR")
CREATING = ("EMFILE", "ENOSPC", "EIO", "EACCES")
"""What openat(2) fails with in turn, and not FAILURES as other calls: no disk interrupts it."""
SYNCING = {"fsync": ("EIO",), "syncfs": ("EIO",)}
"""Whatever fails so is lost, and the command must say it; where there is no room it may make some and write once more."""
LANES = min(4, os.cpu_count() or 1)
"""So many stores are disturbed at once."""
TAKEN = 0.8
"""This part of the kills, and of the failures, must take effect: which process makes a call differs from run to run."""


class Bench:
    """A store, and what must hold after a command on it was disturbed."""

    def __init__(self, crate: Crate, server: Server) -> None:
        self.crate = crate
        self.crasher = Crasher(crate, KILLS_PER_CALL)
        self.one, self.two = f"{server.host}/one:1", f"{server.host}/two:1"

    def names(self) -> list[str]:
        return self.crate.out("images", "--format", "{{.Repository}}:{{.Tag}}").split()

    def findings(self, *flags: str) -> list[dict[str, Any]]:
        result = self.crate("system", "check", "--json", *flags, status=None)
        found: list[dict[str, Any]] = json.loads(result.out)["findings"]
        damage = [one for one in found if one["damage"] and not one["repaired"]]
        assert not damage, result
        assert result.status == 0
        return found

    def recovers(self, *words: str, allowed: str = "") -> None:
        """Nothing is damaged, and the command succeeds the second time; or fails with this text, because the first one was enough."""
        self.findings()
        again = self.crate(*words, status=None)
        assert again.status == 0 or (allowed and allowed in again.err), again
        self.findings("--repair", "--full")
        before = files(self.crate.root)
        assert self.findings("--repair") == []
        assert files(self.crate.root) == before, "a second repair does nothing"
        assert not self.crate.left_behind()


@pytest.fixture
def benches(ourselves: Account, bin_directory: Path, base: Path, server: Server) -> Iterator[list[Bench]]:
    """Alike, and with a registry in common: it has the images `one` and `two`, which share a layer."""
    host.need_root()
    server.image("one", "1", layers=[SHARED, OWN])
    server.image("two", "1", layers=[SHARED], env=["A=1"])
    made = [Bench(Crate(bin_directory / "crate", base / f"bench{lane}", ourselves), server) for lane in range(LANES)]
    yield made
    for bench in made:
        bench.crate.remove_containers()
        bench.crate.destroy()


@pytest.fixture
def bench(benches: list[Bench]) -> Bench:
    return benches[0]


def ended(result: Result) -> None:
    """In one of crate's own ways: with an error that says what failed, not with a fault of the program."""
    assert "Traceback" not in result.err and "internal error" not in result.err, result
    assert result.status == 0 or "crate: error:" in result.err, result


Check = Callable[[Bench, Result, str], None]


class Disturbance:
    """Every kill and every failure of one command in turn, each on the store as it was kept; several stores at once."""

    def __init__(self, words: tuple[str, ...], check: Check) -> None:
        self._words, self._check = words, check
        self._left: queue.SimpleQueue[tuple[str, int, str]] = queue.SimpleQueue()
        self._took_effect: list[tuple[str, bool]] = []
        self._wrong: list[str] = []

    def run(self, benches: list[Bench]) -> None:
        for bench in benches:
            bench.crasher.keep()
        points = benches[0].crasher.points(*self._words)
        assert len(points) >= 8
        for call, k in points:
            self._left.put((call, k, ""))
        for number, (call, k) in enumerate(point for point in points if point[0] in CHANGING):
            errors = CREATING if call == "openat" else SYNCING.get(call, FAILURES)
            self._left.put((call, k, errors[number % len(errors)]))
        with ThreadPoolExecutor(len(benches)) as lanes:
            list(lanes.map(self._lane, benches))
        assert not self._wrong, "\n".join([f"{len(self._wrong)} points:", *self._wrong])
        for kind in ("kill", "failure"):
            took = [took for one, took in self._took_effect if one == kind]
            print(f"{self._words[0]}: {sum(took)} of {len(took)} took effect: {kind}")
            assert sum(took) >= TAKEN * len(took), f"of each {kind} only {sum(took)} of {len(took)} took effect"

    def _lane(self, bench: Bench) -> None:
        while True:
            try:
                call, k, error = self._left.get_nowait()
            except queue.Empty:
                return
            point = f"{error or 'kill'} {call} {k}"
            try:
                self._check(bench, self._disturb(bench, call, k, error), point)
            except AssertionError as wrong:
                print(f"{self._words[0]}: {point}: {wrong}", flush=True)
                self._wrong.append(f"{point}: {wrong}")

    def _disturb(self, bench: Bench, call: str, k: int, error: str) -> Result:
        bench.crasher.put_back()
        if not error:
            result = bench.crasher.kill(call, k, *self._words)
            self._took_effect.append(("kill", result.status != 0))
            return result
        result, failed = bench.crasher.fail(call, k, error, *self._words)
        self._took_effect.append(("failure", bool(failed)))
        ended(result)
        if failed and call in SYNCING:
            assert result.status != 0, f"what is not on disk was acknowledged\n{failed}\n{result}"
        return result


def test_pull(benches: list[Bench]) -> None:
    def check(bench: Bench, result: Result, point: str) -> None:
        if result.status == 0:
            assert bench.names() == [bench.one], point
        bench.recovers("pull", "-q", bench.one)
        assert bench.names() == [bench.one], point

    Disturbance(("pull", "-q", benches[0].one), check).run(benches)


def test_rmi(benches: list[Bench]) -> None:
    """The other image keeps the layer that both have."""

    def check(bench: Bench, result: Result, point: str) -> None:
        names = bench.names()
        assert bench.two in names, point
        assert result.status != 0 or bench.one not in names, point
        bench.recovers("rmi", bench.one, allowed="no such image")
        assert bench.names() == [bench.two], point

    for bench in benches:
        for name in (bench.one, bench.two):
            bench.crate("pull", "-q", name)
    Disturbance(("rmi", benches[0].one), check).run(benches)


def test_prune(benches: list[Bench]) -> None:
    """What has a name or a container stays."""

    def check(bench: Bench, _: Result, point: str) -> None:
        assert set(bench.names()) >= {bench.two, "kept:1"}, point
        bench.recovers("system", "prune", "-f")
        assert set(bench.names()) == {bench.two, "kept:1"}, point

    for bench in benches:
        for name in (bench.one, bench.two):
            bench.crate("pull", "-q", name)
        bench.crate("untag", bench.one)
        bench.crate("tag", bench.two, "kept:1")
    Disturbance(("system", "prune", "-f"), check).run(benches)


def test_load(benches: list[Bench]) -> None:
    archive = benches[0].crate.directory / "one.tar"
    for bench in benches:
        bench.crate("pull", "-q", bench.one)
        if not archive.exists():
            bench.crate("save", "-o", str(archive), bench.one)
        bench.crate("rmi", bench.one)
    words = ("load", "-q", "-i", str(archive))

    def check(bench: Bench, result: Result, point: str) -> None:
        if result.status == 0:
            assert bench.names() == [bench.one], point
        bench.recovers(*words)
        assert bench.names() == [bench.one], point

    Disturbance(words, check).run(benches)


def test_writes_that_come_short(bench: Bench) -> None:
    """A limit on the size of files: the kernel writes a part, and refuses the rest (RLIMIT_FSIZE)."""
    prlimit = host.program("prlimit", "util-linux")
    for limit in (50, 700, 5000):
        subprocess.run(["rm", "-rf", str(bench.crate.root)], check=True)
        command = [prlimit, f"--fsize={limit}", *bench.crate.command("pull", "-q", bench.one)]
        result = bench.crate.account.run(command, env={"CRATE_CONFIG": "/dev/null"}, status=None)
        assert result.status == 1
        ended(result)
        assert bench.names() == []
        bench.recovers("pull", "-q", bench.one)


def test_a_recovery_that_is_killed_is_recovered_from(bench: Bench) -> None:
    """Killed in the middle of a removal, then in the middle of the repair."""
    bench.crate("pull", "-q", bench.one)
    bench.crasher.keep()
    bench.crasher.kill("rename", 2, "rmi", bench.one)
    points = [point for point in bench.crasher.points("system", "check", "--repair") if point[0] in ("unlink", "rename", "rmdir")]
    assert points
    for call, k in points:
        bench.crasher.put_back()
        bench.crasher.kill("rename", 2, "rmi", bench.one)
        bench.crasher.kill(call, k, "system", "check", "--repair")
        bench.recovers("pull", "-q", bench.one)


def test_a_pull_that_was_killed_is_continued(bench: Bench, server: Server) -> None:
    """What had come is not fetched again, however many times it is killed; then three pulls at once succeed."""
    for k in (1, 2, 3):
        bench.crasher.kill("rename", k, "pull", "-q", bench.one)
    pulls = [bench.crate.popen("pull", "-q", bench.one, stdout=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait(60) for process in pulls] == [0, 0, 0]
    assert bench.names() == [bench.one]
    eventually(lambda: not bench.crate.left_behind(), "nothing is left over")
    assert bench.findings("--full") == []
    assert os.listdir(bench.crate.root / "ingest") == []
