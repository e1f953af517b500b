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


def test_hard_links_of_a_layer_stay_links_and_those_of_different_layers_do_not_meet(tmp_path: Path) -> None:
    low, high, target = tmp_path / "low", tmp_path / "high", tmp_path / "target"
    for path in (low / "d", high / "d", target):
        path.mkdir(parents=True)
    (low / "one").write_text("low")
    for name in ("d/two", "replaced", "removed"):
        os.link(low / "one", low / name)
    (high / "replaced").write_text("high")
    os.link(high / "replaced", high / "d/new")
    whiteout(high / "removed")
    copy_layers([str(low), str(high)], str(target))
    assert tree(target) == {"d": "directory", "d/new": "high", "d/two": "low", "one": "low", "replaced": "high"}
    assert os.path.samefile(target / "one", target / "d/two")
    assert os.path.samefile(target / "replaced", target / "d/new")
    assert [(target / name).stat().st_nlink for name in ("one", "replaced")] == [2, 2]


def test_links_devices_and_fifos_keep_their_times(tmp_path: Path) -> None:
    low, target = tmp_path / "low", tmp_path / "target"
    for path in (low, target):
        path.mkdir()
    (low / "link").symlink_to("x")
    os.mkfifo(low / "fifo", 0o640)
    for name in ("link", "fifo"):
        os.utime(low / name, ns=(1, 2_000_000_003), follow_symlinks=False)
    copy_layers([str(low)], str(target))
    assert [(target / name).lstat().st_mtime_ns for name in ("link", "fifo")] == [2_000_000_003] * 2


def test_holes_stay_holes(tmp_path: Path) -> None:
    low, target = tmp_path / "low", tmp_path / "target"
    for path in (low, target):
        path.mkdir()
    for name, at in (("end", 0), ("middle", 50_000_000), ("nothing", None)):
        with open(low / name, "wb") as file:
            if at is not None:
                file.seek(at)
                file.write(b"content")
            file.truncate(100_000_000)
    copy_layers([str(low)], str(target))
    for name in ("end", "middle", "nothing"):
        status = (target / name).stat()
        assert (status.st_size, status.st_blocks * 512 < 1 << 20) == (100_000_000, True)
    with open(target / "middle", "rb") as file:
        assert (file.seek(49_999_999), file.read(9)) == (49_999_999, b"\0content\0")
