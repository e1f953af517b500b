"""What directories inherit from lower layers: only those that a layer implies, and only what can be seen through the layers between."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from crate_engine.layers import inheritance
from tests.unit.engine.test_layers_copy import whiteout

_OPAQUE = "user.overlay.opaque"


class Stack:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.trees: list[str] = []

    def layer(self, *implied: str, **modes: int) -> Path:
        """A layer with directories of these modes and, among them, implied ones; `__` stands for a slash."""
        root = self.directory / str(len(self.trees)) / "fs"
        root.mkdir(parents=True)
        for name, mode in modes.items():
            path = root / name.replace("__", "/")
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        inheritance.write_implied(str(root.parent), [name.encode() for name in implied])
        self.trees.append(str(root))
        return root

    def restored(self) -> dict[str, int]:
        """The directories of the tree that is made, and their modes."""
        place = self.directory / "made"
        place.mkdir()
        if not inheritance.make(self.trees, str(place)):
            assert list(place.iterdir()) == []
            return {}
        root = place / "fs"
        assert all(path.is_dir() and not path.is_symlink() for path in root.rglob("*"))
        return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path)


def test_an_implied_directory_gets_what_the_lower_layer_says(stack: Stack) -> None:
    low = stack.layer("", tmp=0o1777, root=0o700)
    os.setxattr(low / "tmp", "user.note", b"x")
    os.utime(low / "tmp", ns=(5, 5))
    stack.layer("", "tmp", tmp=0o755, root=0o711)
    assert stack.restored() == {".": 0o755, "tmp": 0o1777}
    made = stack.directory / "made/fs/tmp"
    assert (os.getxattr(made, "user.note"), made.stat().st_mtime_ns) == (b"x", 5)


def test_directories_above_keep_what_they_have(stack: Stack) -> None:
    stack.layer("", var=0o700, var__log=0o750, var__log__app=0o2770)
    stack.layer("", "var/log/app", var=0o711, var__log=0o751, var__log__app=0o755)
    assert stack.restored() == {".": 0o755, "var": 0o711, "var/log": 0o751, "var/log/app": 0o2770}


def test_the_root_is_that_of_the_uppermost_layer_with_an_entry_for_it(stack: Stack) -> None:
    os.chmod(stack.layer(), 0o700)
    os.chmod(stack.layer(), 0o711)
    stack.layer("")
    assert stack.restored() == {".": 0o711}


def test_through_several_layers_that_imply_it(stack: Stack) -> None:
    stack.layer(tmp=0o1777)
    for _ in range(3):
        stack.layer("", "tmp", tmp=0o755)
    assert stack.restored() == {".": 0o755, "tmp": 0o1777}


def test_nothing_is_made_where_nothing_would_change(stack: Stack) -> None:
    stack.layer(tmp=0o1777)
    stack.layer("new", "new/deep", new__deep=0o755, tmp=0o777)
    assert inheritance.is_needed(stack.trees)
    assert stack.restored() == {}


def test_the_lowest_layer_inherits_nothing(stack: Stack) -> None:
    stack.layer("", "a", a=0o755)
    stack.layer(b=0o755)
    assert not inheritance.is_needed(stack.trees)
    assert stack.restored() == {}


def test_a_layer_above_decides(stack: Stack) -> None:
    stack.layer(tmp=0o1777)
    stack.layer("tmp", tmp=0o755)
    stack.layer(tmp=0o700)
    assert stack.restored() == {}


@pytest.mark.parametrize("how", ["whiteout", "file", "link", "opaque", "opaque above", "whiteout above"])
def test_what_is_hidden_is_not_inherited(stack: Stack, how: str) -> None:
    stack.layer(a=0o700, a__b=0o700)
    between = stack.layer(a=0o711)
    if how == "whiteout":
        whiteout(between / "a/b")
    elif how == "file":
        (between / "a/b").write_text("x")
    elif how == "link":
        (between / "a/b").symlink_to("/")
    elif how == "opaque":
        (between / "a/b").mkdir()
        os.setxattr(between / "a/b", _OPAQUE, b"y")
        inheritance.write_implied(os.path.dirname(between), [b"a/b"])
    elif how == "opaque above":
        os.setxattr(between / "a", _OPAQUE, b"y")
    else:
        (between / "a").rmdir()
        whiteout(between / "a")
    stack.layer("a", "a/b", a__b=0o755)
    assert "a/b" not in stack.restored()


@pytest.mark.parametrize("how", ["whiteout", "file", "opaque above"])
def test_what_a_layer_above_hides_does_not_come_back(stack: Stack, how: str) -> None:
    stack.layer(a=0o700, a__b=0o700)
    stack.layer("a", "a/b", a__b=0o755)
    above = stack.layer(a=0o711)
    if how == "whiteout":
        whiteout(above / "a/b")
    elif how == "file":
        (above / "a/b").write_text("x")
    else:
        os.setxattr(above / "a", _OPAQUE, b"y")
    assert stack.restored() == {}


def test_an_opaque_directory_of_the_layer_itself_inherits_nothing(stack: Stack) -> None:
    stack.layer(a=0o700)
    os.setxattr(stack.layer("a", a=0o755) / "a", _OPAQUE, b"y")
    assert stack.restored() == {}


def test_links_in_layers_are_not_followed(stack: Stack, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (stack.layer() / "a").symlink_to(outside)
    stack.layer("a", "a/b", a__b=0o755)
    assert stack.restored() == {}
    assert list(outside.iterdir()) == []
