"""Directories that a layer only implies keep what lower layers say of them: a small tree on top of an image's layers, of directories alone.

An archive may have `var/log/new` without entries for `var` and `var/log`. Unpacked by itself such a layer has these directories with attributes
of no meaning, and overlayfs shows the uppermost ones: /tmp would lose its sticky bit, /root become readable. So the layers' directories
are compared once for each stack of layers. What a layer implies is in the file `implied` beside its tree, as names that end with NUL.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from crate_engine.layers.copy import copy_attributes, is_opaque
from crate_engine.store import durable
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FILE = "implied"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_HOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


def write_implied(layer: str, paths: Iterable[bytes]) -> None:
    content = b"".join(path + b"\0" for path in paths)
    if content:
        durable.write(f"{layer}/{_FILE}", content)


def is_needed(trees: list[str]) -> bool:
    """Whether any layer but the lowest implies directories."""
    return any(os.path.exists(f"{os.path.dirname(tree)}/{_FILE}") for tree in trees[1:])


def make(trees: list[str], directory: str) -> bool:
    """Make `directory`/fs for layers whose trees these are, the lowest first; False, and nothing is made: no attribute would change.

    In a process that may set owners. `directory` exists. Raises OSError.
    """
    stack = _Stack(trees)
    try:
        wanted = stack.to_restore()
        if wanted:
            os.mkdir(f"{directory}/fs", 0o755)
            root = os.open(f"{directory}/fs", _DIRECTORY)
            try:
                stack.restore(root, wanted)
            finally:
                os.close(root)
            durable.sync_tree(directory)
        return bool(wanted)
    finally:
        stack.close()


class _Stack:
    """The layers of one image: an fd of each tree, and what each implies."""

    def __init__(self, trees: list[str]) -> None:
        self._roots = [os.open(tree, _DIRECTORY) for tree in trees]
        self._implied = [_read_implied(os.path.dirname(tree)) for tree in trees]

    def close(self) -> None:
        for root in self._roots:
            os.close(root)

    def to_restore(self) -> list[bytes]:
        """The directories whose attributes overlayfs would take from a layer that only implies them, and those above."""
        found: set[bytes] = set()
        for path in {path for implied in self._implied[1:] for path in implied}:
            shown, meant = self._levels(path)
            if shown != meant:
                found.add(path)
                while path:
                    path = path.rpartition(b"/")[0]
                    found.add(path)
        return sorted(found)

    def restore(self, target: int, paths: list[bytes]) -> None:
        for path in paths[1:]:  # the first is the root
            parent_path, _, name = path.rpartition(b"/")
            parent = openat2(target, parent_path or b".", _DIRECTORY, _HOW)
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            finally:
                os.close(parent)
        for path in paths:
            _, meant = self._levels(path)
            source = openat2(self._roots[meant], path or b".", _DIRECTORY, _HOW)
            goal = openat2(target, path or b".", _DIRECTORY, _HOW)
            try:
                copy_attributes(source, goal)
            finally:
                os.close(source)
                os.close(goal)

    def _levels(self, path: bytes) -> tuple[int, int]:
        """The layer whose directory overlayfs shows, and that whose entry for it counts; -1, -1: there is none to be seen."""
        shown = -1
        for level in range(len(self._roots) - 1, -1, -1):
            there, more = _look(self._roots[level], path)
            if there:
                shown = level if shown < 0 else shown
                if path not in self._implied[level]:
                    return shown, level
            if not more:
                break
        return shown, shown


def _look(root: int, path: bytes) -> tuple[bool, bool]:
    """Whether a layer has a directory at `path`, and whether what lower layers have there can be seen through it."""
    directory = os.dup(root)
    try:
        opaque = is_opaque(directory)
        for name in path.split(b"/") if path else []:
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return False, not opaque
            if not stat.S_ISDIR(status.st_mode):
                return False, False
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
            opaque = opaque or is_opaque(directory)
        return True, not opaque
    finally:
        os.close(directory)


def _read_implied(layer: str) -> frozenset[bytes]:
    with suppress(FileNotFoundError), open(f"{layer}/{_FILE}", "rb") as file:
        return frozenset(file.read().split(b"\0")[:-1])
    return frozenset()
