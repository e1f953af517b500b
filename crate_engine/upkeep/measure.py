"""How many bytes the files below a directory have, each counted once however many links it has. Follows no link and enters no mount."""

from __future__ import annotations

import os
import stat

from crate_engine.system import userns
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crate_engine.system.userns import UserNamespace

_HOW = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV


def size(user_namespace: UserNamespace, paths: Sequence[str]) -> int:
    """Of all together, measured inside the user namespace; what cannot be read, or goes away meanwhile, counts nothing."""
    return sum(sizes(user_namespace, paths))


def sizes(user_namespace: UserNamespace, paths: Sequence[str]) -> list[int]:
    if not paths:
        return []
    found = userns.run(user_namespace, _measure, list(paths))
    assert isinstance(found, list)
    return found


def _measure(paths: list[str]) -> list[int]:
    return [_tree(path) for path in paths]


def _tree(path: str) -> int:
    try:
        root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    total, seen, pending = 0, set[int](), [b"."]
    try:
        while pending:
            below = pending.pop()
            try:
                directory = openat2(root, below, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, _HOW)
            except OSError:
                continue
            try:
                total += _directory(directory, below, pending, seen)
            finally:
                os.close(directory)
    finally:
        os.close(root)
    return total


def _directory(directory: int, path: bytes, pending: list[bytes], seen: set[int]) -> int:
    total = 0
    for entry in os.listdir(directory):
        try:
            status = os.stat(entry, dir_fd=directory, follow_symlinks=False)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            pending.append(path + b"/" + os.fsencode(entry))
        elif status.st_ino not in seen:
            seen.add(status.st_ino)
            total += status.st_size
    return total
