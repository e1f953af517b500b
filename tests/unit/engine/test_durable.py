"""Durable writing and removal."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crate_engine.errors import StoreError
from crate_engine.store import durable
from crate_engine.system.mount import bind, make_private
from crate_engine.system.process import CLONE_NEWNS, unshare


def test_write_replaces_the_file_with_the_mode_asked_for_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    durable.write(str(target), b"one")
    durable.write(str(target), b"two", mode=0o640)
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["record.json"]


def test_a_failed_write_keeps_the_old_file_and_names_the_path(tmp_path: Path) -> None:
    target = tmp_path / "record.json"
    target.mkdir()
    (target / "inside").write_text("kept")
    with pytest.raises(StoreError, match=r"record\.json"):
        durable.write(str(target), b"new")
    assert os.listdir(tmp_path) == ["record.json"]
    assert (target / "inside").read_text() == "kept"


def test_sweep_removes_what_an_interrupted_write_left_and_nothing_else(tmp_path: Path) -> None:
    for name in (".index.json.0123456789ab.tmp", "index.json", "x.tmp", ".hidden"):
        (tmp_path / name).write_text("")
    durable.sweep(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == [".hidden", "index.json", "x.tmp"]


def test_remove_tree_never_follows_a_link(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("alive")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "directory").symlink_to(canary)
    (tree / "file").symlink_to(canary / "file")
    durable.remove_tree(str(tree))
    durable.remove_tree(str(tree))
    assert os.listdir(tmp_path) == ["canary"]
    assert (canary / "file").read_text() == "alive"


def test_remove_tree_of_a_link_removes_the_link(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    durable.remove_tree(str(tmp_path / "link"))
    assert os.listdir(tmp_path) == ["kept"]


def test_remove_tree_goes_deeper_than_there_are_file_descriptors_and_names_may_be_long(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("d" * 50, dir_fd=fd)
        os.mkdir("side", dir_fd=fd)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    before = len(os.listdir("/proc/self/fd"))
    durable.remove_tree(str(top))
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_remove_tree_opens_directories_that_their_owner_locked(tmp_path: Path) -> None:
    locked = tmp_path / "tree" / "locked"
    locked.mkdir(parents=True)
    (locked / "file").write_text("")
    locked.chmod(0)
    durable.remove_tree(str(tmp_path / "tree"))
    assert os.listdir(tmp_path) == []


def test_trash_moves_out_of_sight_first(tmp_path: Path) -> None:
    (tmp_path / "trash").mkdir()
    (tmp_path / "layer").mkdir()
    moved = durable.move_to_trash(str(tmp_path / "layer"), str(tmp_path / "trash"))
    assert os.listdir(tmp_path) == ["trash"]
    assert os.path.isdir(moved)
    with pytest.raises(FileNotFoundError):
        durable.trash(str(tmp_path / "layer"), str(tmp_path / "trash"))


def test_trash_of_another_file_system_is_an_error_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mounted(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(os, "rename", mounted)
    with pytest.raises(StoreError, match=r"remove .*/layer: something is mounted there"):
        durable.move_to_trash(str(tmp_path / "layer"), str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts in a mount namespace of its own")
def test_remove_tree_stops_at_a_mount_and_names_it(tmp_path: Path) -> None:
    canary, inside = tmp_path / "canary", tmp_path / "tree" / "a" / "mounted"
    canary.mkdir()
    (canary / "file").write_text("alive")
    inside.mkdir(parents=True)
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWNS)
            make_private()
            bind(str(canary), str(inside))
            durable.remove_tree(str(tmp_path / "tree"))
        except StoreError as error:
            os._exit(0 if f"{inside}: something is mounted there" in str(error) else 2)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert (canary / "file").read_text() == "alive"


def test_remove_tree_in_a_directory_that_cannot_be_opened_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"remove .*/file/below: Not a directory"):
        durable.remove_tree(str(tmp_path / "file" / "below"))
    durable.remove_tree(str(tmp_path / "missing" / "below"))
