from __future__ import annotations

import os
import stat
from pathlib import Path

from crate_engine.layers.copy import copy_layers


def whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR, 0)  # the one device that an ordinary user may make: Linux 5.8


def tree(path: Path) -> dict[str, str]:
    found = {}
    for entry in sorted(path.rglob("*")):
        name = str(entry.relative_to(path))
        found[name] = f"-> {os.readlink(entry)}" if entry.is_symlink() else "directory" if entry.is_dir() else entry.read_text()
    return found


def test_layers_are_copied_over_each_other(tmp_path: Path) -> None:
    low, high, target = tmp_path / "low", tmp_path / "high", tmp_path / "target"
    for path in (low, high, target):
        path.mkdir()
    for name in ("kept", "replaced", "removed", "file-to-directory"):
        (low / name).write_text(f"low {name}")
    for name in ("merged", "opaque", "gone", "directory-to-file"):
        (low / name).mkdir()
        (low / name / "low").write_text("low")
    (high / "replaced").symlink_to("/etc/passwd")
    whiteout(high / "removed")
    whiteout(high / "gone")
    (high / "directory-to-file").write_text("high")
    for name in ("merged", "opaque", "file-to-directory"):
        (high / name).mkdir()
        (high / name / "high").write_text("high")
    os.setxattr(high / "opaque", "user.overlay.opaque", b"y")
    (high / "merged").chmod(0o2751)
    (high / "kept-mode").write_text("")
    (high / "kept-mode").chmod(0o4755)
    os.setxattr(high / "kept-mode", "user.note", b"x")
    os.utime(high / "kept-mode", ns=(1, 2))
    copy_layers([str(low), str(high)], str(target))
    assert tree(target) == {
        "directory-to-file": "high",
        "file-to-directory": "directory",
        "file-to-directory/high": "high",
        "kept": "low kept",
        "kept-mode": "",
        "merged": "directory",
        "merged/high": "high",
        "merged/low": "low",
        "opaque": "directory",
        "opaque/high": "high",
        "replaced": "-> /etc/passwd",
    }
    status = (target / "kept-mode").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o4755, 2)
    assert os.getxattr(target / "kept-mode", "user.note") == b"x"
    assert stat.S_IMODE((target / "merged").stat().st_mode) == 0o2751
    assert "user.overlay.opaque" not in os.listxattr(target / "opaque")


def test_a_link_in_a_lower_layer_is_replaced_not_followed(tmp_path: Path) -> None:
    outside, low, high, target = (tmp_path / name for name in ("outside", "low", "high", "target"))
    for path in (outside, low, high, target):
        path.mkdir()
    (low / "link").symlink_to(outside)
    (high / "link").mkdir()
    (high / "link" / "file").write_text("x")
    copy_layers([str(low), str(high)], str(target))
    assert list(outside.iterdir()) == []
    assert (target / "link" / "file").read_text() == "x"
