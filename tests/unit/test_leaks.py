"""The leak check of the integration tests finds what it is there to find."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import Census, Watch
from tests.support.programs import MARK, eventually


@pytest.fixture
def census(tmp_path: Path) -> Iterator[Census]:
    watch = Watch()
    yield Census(tmp_path / "base", watch, [tmp_path])
    watch.close()


def test_nothing_left_is_nothing_found(census: Census) -> None:
    before = census.take()
    subprocess.run(["true"], env={MARK: str(os.getpid())}, check=True)
    assert census.settle(before) == []


@pytest.mark.parametrize("how", ["environment", "command line", "working directory"])
def test_process_is_found_by_what_it_has_of_ours(census: Census, how: str) -> None:
    census.base.mkdir()
    before = census.take()
    environment = {"PATH": os.environ["PATH"]} | ({MARK: str(os.getpid())} if how == "environment" else {})
    command = ["sh", "-c", "read -r line", str(census.base) if how == "command line" else ""]
    with subprocess.Popen(
        command, env=environment, cwd=census.base if how == "working directory" else "/", stdin=subprocess.PIPE
    ) as process:
        found = eventually(lambda: census.take().since(before), "the process is found")
        process.kill()
    assert any(str(process.pid) in text and f"({how})" in text for text in found)


def test_descriptor_and_file_are_found(census: Census, tmp_path: Path) -> None:
    before = census.take()
    with open(tmp_path / "left", "w"):
        found = census.take().since(before)
    assert sorted(text.partition(":")[0] for text in found) == ["descriptors", "files"]
    assert all(str(tmp_path / "left") in text for text in found)


def test_ids_of_containers_are_learned_though_they_are_gone(census: Census, tmp_path: Path) -> None:
    directory = tmp_path / "containers"
    census.watch.add(directory)
    identity = "0123456789abcdef" * 4
    (directory / identity).mkdir()
    (directory / identity).rmdir()
    (directory / "not-an-id").touch()
    assert census.watch.read() == {identity}
