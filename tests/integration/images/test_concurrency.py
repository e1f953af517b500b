"""Many processes on one store: pulls, removals, prunes and runs at the same time leave it whole, and none of them fails without a reason."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support.engine import Crate
from tests.support.programs import SLOW, Account, eventually

MANY = 32
ROUNDS = 8
SHARED = layer({"bin/": b"", "bin/a": b"#!" * 200_000})


class Crowd:
    """One store and a registry, and processes that are started together."""

    def __init__(self, crate: Crate, server: Server) -> None:
        self.crate = crate
        self.server = server

    def image(self, name: str, *contents: bytes) -> str:
        self.server.image(name, "1", layers=[SHARED, *(layer({"file": content}) for content in contents)], env=[name])
        return f"{self.server.host}/{name}:1"

    def together(self, *commands: tuple[str, ...], timeout: float = 120) -> list[tuple[int, str]]:
        """Exit status and standard error of each. A command that blocks on another for good is found by the timeout."""
        started, errors = [], [self.crate.directory / f"error-{number}" for number in range(len(commands))]
        for words, path in zip(commands, errors, strict=True):
            with open(path, "wb") as error:
                started.append(self.crate.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=error))
        statuses = [process.wait(timeout * SLOW) for process in started]
        return [(status, path.read_text()) for status, path in zip(statuses, errors, strict=True)]

    def is_whole(self) -> None:
        """Nothing is damaged, nothing is left over, and nothing changes when all of it is repaired."""
        eventually(lambda: not os.listdir(self.crate.root / "ingest"), "no download is left over")
        found: list[dict[str, Any]] = json.loads(self.crate.out("system", "check", "--full", "--json"))["findings"]
        assert found == []
        assert not list((self.crate.root / "trash").iterdir())

    def names(self) -> set[str]:
        return set(self.crate.out("images", "--format", "{{.Repository}}:{{.Tag}}").split())


@pytest.fixture
def crowd(account: Account, bin_directory: Path, base: Path, server: Server) -> Iterator[Crowd]:
    crate = Crate(bin_directory / "crate", base / f"crowd-{account.uid}", account)
    yield Crowd(crate, server)
    crate.remove_containers()
    crate.destroy()


def test_many_pulls_of_one_image_fetch_each_blob_once(crowd: Crowd) -> None:
    name = crowd.image("app", b"one", b"two")
    answers = crowd.together(*[("pull", "-q", name)] * MANY)
    assert [status for status, _ in answers] == [0] * MANY, answers
    blobs = [path for path, _ in crowd.server.log if "/blobs/" in path]
    layers = [path for path in blobs if crowd.server.documents[path][1][:2] == b"\x1f\x8b"]
    assert len(layers) == len(set(layers)) == 3
    assert crowd.names() == {name}
    crowd.is_whole()


def test_pulls_and_prunes_at_the_same_time(crowd: Crowd) -> None:
    """What a pull has said is there stays; the prunes take only what has no name."""
    names = [crowd.image(f"app{number}", bytes([number])) for number in range(ROUNDS)]
    pulls = [("pull", "-q", name) for name in names]
    prunes = [("system", "prune", "-f")] * ROUNDS
    answers = crowd.together(*(one for pair in zip(pulls, prunes, strict=True) for one in pair))
    assert [status for status, _ in answers] == [0] * (2 * ROUNDS), answers
    assert crowd.names() == set(names)
    crowd.is_whole()


def test_pulls_and_removals_of_the_same_images(crowd: Crowd) -> None:
    """A removal finds the image or does not; a layer that images share is there as long as one of them is."""
    names = [crowd.image(f"app{number}", bytes([number])) for number in range(ROUNDS)]
    for name in names[: ROUNDS // 2]:
        crowd.crate("pull", "-q", name)
    answers = crowd.together(*(words for name in names for words in (("rmi", name), ("pull", "-q", name))))
    for status, error in answers:
        assert status == 0 or "no such image" in error or "image not known" in error, error
    assert all(status == 0 for status, _ in answers[1::2]), answers
    crowd.is_whole()
    for name in crowd.names():
        crowd.crate("rmi", name)
    assert crowd.names() == set()
    assert list((crowd.crate.root / "oci/blobs/sha256").iterdir()) == []
    assert list((crowd.crate.root / "layers").glob("*/*")) == []


def test_removing_an_image_while_containers_are_made_from_it(crowd: Crowd, images: Any) -> None:
    """Each container either runs or says that there is no image; the image of one that exists stays."""
    for _ in range(3):
        crowd.crate("pull", "-q", images.busybox)
        run = ("run", "-d", "--network", "none", "--pull", "never", images.busybox, "true")
        answers = crowd.together(run, ("rmi", images.busybox), run, ("system", "prune", "-af"), run)
        for status, error in answers:
            assert status == 0 or any(text in error for text in ("not to be pulled", "no such image", "uses", "using")), error
        assert all("internal" not in error and "damaged" not in error for _, error in answers)
        crowd.is_whole()
        for identity in crowd.crate.out("ps", "-aq").split():
            crowd.crate("start", identity)
            crowd.crate("wait", identity, status=None)
        crowd.crate.remove_containers()
        crowd.is_whole()
    assert crowd.crate.left_behind() == []


def test_checks_and_repairs_beside_pulls_take_nothing_for_damage(crowd: Crowd) -> None:
    names = [crowd.image(f"app{number}", bytes([number])) for number in range(4)]
    checks = [("system", "check", "--repair"), ("system", "check", "--full")] * 2
    answers = crowd.together(
        *(one for pair in zip(checks, [("pull", "-q", name) for name in names], strict=True) for one in pair)
    )
    assert [status for status, _ in answers] == [0] * 8, answers
    assert crowd.names() == set(names)
    crowd.is_whole()
