"""pull, rmi, load and prune killed before any call that changes something, or with any such call failing: nothing is damaged, nothing is lost.

After each: the store has no damage; what was acknowledged is there; the same command succeeds; nothing is left over; and a second repair does
nothing. CRATE_TEST_CRASH_POINTS=1 takes every call in place of a few of each kind.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support import host
from tests.support.crash import Crasher, files
from tests.support.engine import Crate
from tests.support.programs import Account, Result, eventually

SHARED = layer({"bin/": b"", "bin/a": b"#!" * 40000, "etc/": b"", "etc/name": b"base"})
OWN = layer({"etc/": b"", "etc/name": b"above", "etc/link": b"x"})
KILLS_PER_CALL = 1
FAILURES = ("ENOSPC", "EIO", "EMFILE", "EINTR")
FAILING = ("openat", "openat2", "mkdir", "rename", "unlink", "write", "fsync", "syncfs", "link", "ftruncate", "flock", "rmdir")


class Bench:
    """A store, a registry with the images `one` and `two` that share a layer, and what must hold after a command was disturbed."""

    def __init__(self, crate: Crate, server: Server) -> None:
        self.crate = crate
        self.crasher = Crasher(crate, KILLS_PER_CALL)
        self.one, self.two = f"{server.host}/one:1", f"{server.host}/two:1"
        server.image("one", "1", layers=[SHARED, OWN])
        server.image("two", "1", layers=[SHARED], env=["A=1"])

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
        assert self.findings() == []
        before = files(self.crate.root)
        assert self.findings("--repair") == []
        assert files(self.crate.root) == before, "a second repair does nothing"
        assert not self.crate.left_behind()


@pytest.fixture
def bench(ourselves: Account, bin_directory: Path, base: Path, server: Server) -> Iterator[Bench]:
    host.need_root()
    crate = Crate(bin_directory / "crate", base / "bench", ourselves)
    yield Bench(crate, server)
    crate.remove_containers()
    crate.destroy()


def ended(result: Result) -> None:
    """In one of crate's own ways: with an error that says what failed, not with a fault of the program."""
    assert "Traceback" not in result.err and "internal error" not in result.err, result
    assert result.status == 0 or "crate: error:" in result.err, result


def disturbed(bench: Bench, words: tuple[str, ...]) -> Iterator[tuple[Result, str]]:
    """Every kill and every failure in turn, on the store as it was kept."""
    points = bench.crasher.points(*words)
    assert len(points) >= 8
    killed = 0
    for call, k in points:
        bench.crasher.put_back()
        result = bench.crasher.kill(call, k, *words)
        killed += result.status != 0
        yield result, f"killed before {call} {k}"
    assert killed > len(points) // 2, "the kills came in time"
    failing = [point for point in points if point[0] in FAILING]
    for number, (call, k) in enumerate(failing):
        bench.crasher.put_back()
        error = FAILURES[number % len(FAILURES)] if call != "openat" else "EMFILE"
        result = bench.crasher.fail(call, k, error, *words)
        ended(result)
        yield result, f"{error} from {call} {k}"


def test_pull(bench: Bench) -> None:
    bench.crasher.keep()
    words = ("pull", "-q", bench.one)
    for result, point in disturbed(bench, words):
        if result.status == 0:
            assert bench.names() == [bench.one], point
        bench.recovers(*words)
        assert bench.names() == [bench.one], point


def test_rmi(bench: Bench) -> None:
    """The other image keeps the layer that both have."""
    for name in (bench.one, bench.two):
        bench.crate("pull", "-q", name)
    bench.crasher.keep()
    words = ("rmi", bench.one)
    for result, point in disturbed(bench, words):
        names = bench.names()
        assert bench.two in names, point
        assert result.status != 0 or bench.one not in names, point
        bench.recovers(*words, allowed="no such image")
        assert bench.names() == [bench.two], point


def test_prune(bench: Bench) -> None:
    """What has a name or a container stays."""
    for name in (bench.one, bench.two):
        bench.crate("pull", "-q", name)
    bench.crate("untag", bench.one)
    bench.crate("tag", bench.two, "kept:1")
    bench.crasher.keep()
    words = ("system", "prune", "-f")
    for _, point in disturbed(bench, words):
        assert set(bench.names()) >= {bench.two, "kept:1"}, point
        bench.recovers(*words)
        assert set(bench.names()) == {bench.two, "kept:1"}, point


def test_load(bench: Bench) -> None:
    bench.crate("pull", "-q", bench.one)
    archive = bench.crate.directory / "one.tar"
    bench.crate("save", "-o", str(archive), bench.one)
    bench.crate("rmi", bench.one)
    bench.crasher.keep()
    words = ("load", "-q", "-i", str(archive))
    for result, point in disturbed(bench, words):
        if result.status == 0:
            assert bench.names() == [bench.one], point
        bench.recovers(*words)
        assert bench.names() == [bench.one], point


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
