"""Root file systems: one of busybox alone, and what is packed into layers of images."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import host

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
"""
GROUP = """\
root:x:0:
nogroup:x:65534:
alice:x:1000:
staff:x:50:alice
"""
_DIRECTORIES = ("bin", "dev", "etc", "home/alice", "proc", "root", "run", "sys", "tmp", "usr/bin", "var")


def static_busybox() -> str:
    """The path of a busybox that needs no library; the test is skipped when there is none."""
    path = host.program("busybox", "busybox-static")
    with open(path, "rb") as file:
        head = file.read(4096)
    if b"/ld-" in head:  # the name of a dynamic loader, in the segment PT_INTERP
        pytest.skip("needs a static busybox (Debian package busybox-static)")
    return path


def applets() -> list[str]:
    listed = subprocess.run([static_busybox(), "--list"], capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split() if name != "busybox"]


def fill(root: Path) -> None:
    """A busybox system below `root`, an existing directory. Modes are set, whatever the umask."""
    for name in _DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copy(static_busybox(), root / "bin/busybox")
    for name in applets():
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text(PASSWD)
    (root / "etc/group").write_text(GROUP)
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)


def give_to(root: Path, uid: int, gid: int) -> None:
    for path in (root, *root.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)
