"""A directory tree as plain values, to compare what several programs made of the same image.

A program too (`python3 trees.py DIRECTORY`, JSON on standard output), for trees that can only be read inside another's user namespace.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
import sys

Tree = dict[str, dict[str, object]]


def listing(root: str) -> Tree:
    """Every entry by its path, the root itself as `.`: kind, mode, owner, time, content, device, attributes, and which other names it has."""
    found: Tree = {}
    names: dict[tuple[int, int], list[str]] = {}
    start = os.fsencode(root)
    for path in sorted(_walk(start)):
        status = os.lstat(path)
        name = _text(os.path.relpath(path, start))
        found[name] = _entry(path, status)
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            names.setdefault((status.st_dev, status.st_ino), []).append(name)
    for same in names.values():
        for name in same if len(same) > 1 else []:
            found[name]["same as"] = same[0]
    return found


def _walk(start: bytes) -> list[bytes]:
    paths = [start]
    for directory, names, files in os.walk(start):
        paths += [os.path.join(directory, name) for name in names + files]
    return paths


def _entry(path: bytes, status: os.stat_result) -> dict[str, object]:
    entry: dict[str, object] = {
        "kind": stat.filemode(status.st_mode)[0],
        "mode": oct(stat.S_IMODE(status.st_mode)),
        "owner": f"{status.st_uid}:{status.st_gid}",
        "mtime": status.st_mtime_ns,
    }
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            entry["content"] = f"{status.st_size} bytes, sha256 {hashlib.file_digest(file, 'sha256').hexdigest()}"
    elif stat.S_ISLNK(status.st_mode):
        entry["target"] = _text(os.readlink(path))
    elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        entry["device"] = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    attributes = {
        name: base64.b64encode(os.getxattr(path, name, follow_symlinks=False)).decode()
        for name in os.listxattr(path, follow_symlinks=False)
        if ".overlay." not in name
    }
    if attributes:
        entry["attributes"] = attributes
    return entry


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def difference(ours: Tree, theirs: Tree, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """One line for each property that differs; `ignore` names properties."""
    lines = []
    for name in sorted(ours | theirs):
        one, other = ours.get(name), theirs.get(name)
        if one is None or other is None:
            lines.append(f"{name}: {'missing here' if one is None else 'only here'}")
            continue
        lines += [
            f"{name}: {key} {one.get(key)}, theirs {other.get(key)}"
            for key in sorted(one | other)
            if key not in ignore and one.get(key) != other.get(key)
        ]
    return lines


def assert_same(ours: Tree, theirs: Tree, *, ignore: tuple[str, ...] = (), ignore_root: bool = False) -> None:
    """`ignore_root`: podman gives every image's root directory one mode, whatever the image says."""
    if ignore_root:
        ours, theirs = ({name: found for name, found in tree.items() if name != "."} for tree in (ours, theirs))
    lines = difference(ours, theirs, ignore=ignore)
    assert not lines, "\n".join(lines[:100])


if __name__ == "__main__":
    json.dump(listing(sys.argv[1]), sys.stdout)
