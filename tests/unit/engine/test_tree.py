"""Trees as entries: an overlay's upper directory, a stack of layers, and a copy compared with its layers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_engine.errors import LayerError
from crate_engine.layers.entries import Action
from crate_engine.layers.tree import Tree

Listed = dict[str, Action]


def make(root: Path, files: dict[str, str]) -> Path:
    """Directories end with a slash, `->` makes a link; all times are the same."""
    root.mkdir(exist_ok=True)
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        elif content.startswith("->"):
            path.symlink_to(content[2:])
        else:
            path.write_text(content)
    for directory, names, others in os.walk(root, topdown=False):
        for name in (*names, *others):
            os.utime(Path(directory, name), (10, 10), follow_symlinks=False)
    return root


def listed(members: object) -> Listed:
    found = {}
    for entry, fd in members:  # type: ignore[attr-defined]
        found[entry.path.decode()] = entry.action
        if fd is not None:
            os.close(fd)
    return found


LOWER = {
    "same": "x",
    "changed": "old",
    "gone": "x",
    "dir/kept": "x",
    "dir/gone": "x",
    "was-dir/x": "x",
    "was-file": "x",
    "link": "->a",
}
NOW = {"same": "x", "changed": "new", "dir/kept": "x", "was-dir": "x", "was-file/y": "x", "link": "->b", "added/deep/z": "x"}


def test_a_copy_is_compared_down_to_the_content(tmp_path: Path) -> None:
    layers = [str(make(tmp_path / "lower", LOWER))]
    root = make(tmp_path / "root", NOW)
    assert listed(Tree(single=False).differences(layers, str(root), left_out=())) == {
        "added": Action.DIRECTORY,
        "added/deep": Action.DIRECTORY,
        "added/deep/z": Action.FILE,
        "changed": Action.FILE,
        "dir/gone": Action.WHITEOUT,
        "link": Action.SYMLINK,
        "was-dir": Action.FILE,
        "was-file": Action.DIRECTORY,
        "was-file/y": Action.FILE,
        "gone": Action.WHITEOUT,
    }


def test_an_unchanged_copy_has_no_differences(tmp_path: Path) -> None:
    layers = [str(make(tmp_path / "lower", LOWER))]
    assert listed(Tree(single=False).differences(layers, str(make(tmp_path / "root", LOWER)), left_out=())) == {}


def test_another_mode_is_a_difference(tmp_path: Path) -> None:
    layers = [str(make(tmp_path / "lower", LOWER))]
    root = make(tmp_path / "root", LOWER)
    (root / "dir").chmod(0o700)
    (root / "same").chmod(0o600)
    found = listed(Tree(single=False).differences(layers, str(root), left_out=()))
    assert found == {"dir": Action.DIRECTORY, "same": Action.FILE}


def test_mount_points_are_left_out_while_they_are_empty(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", {"etc/hosts": "", "etc/mine": "", "proc/": "", "data/x": "x"})
    points = {b"etc/hosts", b"proc", b"data"}
    found = listed(Tree(single=False).changes(str(upper), str(upper), left_out=points))
    assert sorted(found) == ["data", "data/x", "etc", "etc/mine"]


def test_the_marks_of_fuse_overlayfs_are_names(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", {"d/.wh..wh..opq": "", "d/new": "x", ".wh.gone": ""})
    found = [
        (entry.action, entry.path) for entry, _ in Tree(single=False, names=True).changes(str(upper), str(upper), left_out=())
    ]
    assert found == [
        (Action.WHITEOUT, b"gone"),
        (Action.DIRECTORY, b"d"),
        (Action.OPAQUE, b"d"),
        (Action.FILE, b"d/new"),
    ]


def test_a_name_that_would_become_a_whiteout_is_refused(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", {"d/.wh.passwd": "x"})
    with pytest.raises(LayerError, match=r"\.wh\."):
        listed(Tree(single=False).changes(str(upper), str(upper), left_out=()))


def test_layers_are_merged_as_overlayfs_shows_them(tmp_path: Path) -> None:
    upper = make(tmp_path / "upper", {"dir/new": "x", "was-dir": "x", "changed": "new", ".wh.gone": "", "dir/.wh.gone": ""})
    lower = make(tmp_path / "lower", LOWER)
    found = listed(Tree(single=False, names=True).merged([str(upper), str(lower)]))
    assert sorted(found) == ["", "changed", "dir", "dir/kept", "dir/new", "link", "same", "was-dir", "was-file"]


def test_hard_links_stay_hard_links(tmp_path: Path) -> None:
    root = make(tmp_path / "root", {"a": "x", "d/": ""})
    os.link(root / "a", root / "d/b")
    found = {entry.path: entry.link for entry, _ in Tree(single=False).merged([str(root)])}
    assert found == {b"": b"", b"a": b"", b"d": b"", b"d/b": b"a"}
