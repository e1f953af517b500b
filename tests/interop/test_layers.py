"""The same image, unpacked by us and stacked by overlayfs, and flattened by umoci: the same files."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

from crate_engine import pull
from crate_engine.errors import ImageError
from crate_engine.layers.store import LayerStore
from crate_engine.reference import Reference
from crate_engine.store.images import ImageStore
from crate_engine.store.paths import Store
from crate_engine.system import mount, userns
from crate_engine.system.process import CLONE_NEWNS, unshare

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: owners, and an overlay mount")

# (path, kind, mode, owner, content or target); the whiteouts are files by their names
LAYERS = [
    [
        ("./", "dir", 0o755, 0, ""),
        ("etc/", "dir", 0o755, 0, ""),
        ("etc/passwd", "file", 0o644, 0, "root"),
        ("etc/old", "file", 0o600, 0, "old"),
        ("etc/old.d/", "dir", 0o700, 5, ""),
        ("etc/old.d/a", "file", 0o644, 5, "a"),
        ("usr/bin/su", "file", 0o4755, 0, "su"),
        ("usr/bin/wall", "file", 0o2755, 33, "wall"),
        ("usr/bin/su2", "hard", 0, 0, "usr/bin/su"),
        ("bin", "link", 0o777, 0, "usr/bin"),
        ("var/cache/x/y/z", "file", 0o644, 1000, "deep"),
        ("var/mail/", "dir", 0o2775, 8, ""),
        ("tmp/", "dir", 0o1777, 0, ""),
        ("swap", "file", 0o644, 0, "file here"),
        ("swapdir/f", "file", 0o644, 0, "dir here"),
        ("run/pipe", "fifo", 0o622, 0, ""),
        ("long/" + "n" * 120 + "/" + "m" * 120, "file", 0o644, 0, "long"),
    ],
    [
        ("etc/.wh.old", "file", 0, 0, ""),
        ("etc/old.d/", "dir", 0o700, 5, ""),
        ("etc/old.d/.wh..wh..opq", "file", 0, 0, ""),
        ("etc/old.d/b", "file", 0o644, 0, "b"),
        ("var/cache/.wh.x", "file", 0, 0, ""),
        ("var/cache/x/", "dir", 0o711, 7, ""),
        ("var/cache/x/new", "file", 0o644, 0, "new"),
        (".wh.swap", "file", 0, 0, ""),
        ("swap/", "dir", 0o750, 0, ""),
        ("swap/in", "file", 0o644, 0, "now a directory"),
        ("swapdir", "file", 0o640, 3, "now a file"),
        ("usr/bin/su", "file", 0o755, 0, "no longer setuid"),
    ],
    [
        (".wh.tmp", "file", 0, 0, ""),
        ("etc/passwd", "link", 0o777, 0, "../usr/bin/su"),
        ("var/mail/", "dir", 0o775, 9, ""),
        ("var/.wh.cache", "file", 0, 0, ""),
        ("etc/old", "file", 0o644, 0, "back again"),
    ],
]
_KINDS = {
    "dir": tarfile.DIRTYPE,
    "file": tarfile.REGTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def archive(path: Path, entries: list[tuple[str, str, int, int, str]]) -> None:
    with tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT) as made:
        for place, (name, kind, mode, owner, text) in enumerate(entries):
            member = tarfile.TarInfo(name.rstrip("/") or ".")
            member.type, member.mode, member.uid, member.gid, member.mtime = (
                _KINDS[kind],
                mode,
                owner,
                owner,
                1_600_000_000 + place,
            )
            content = text.encode() if kind == "file" else b""
            member.linkname = text if kind in ("link", "hard") else ""
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))


def listing(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = Path(directory, name)
            status = path.lstat()
            content: object = (
                os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(status.st_mode) else None
            )
            found[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    umoci = shutil.which("umoci")
    if umoci is None:
        pytest.skip("needs umoci")
    path = tmp_path / "layout"
    subprocess.run([umoci, "init", "--layout", str(path)], check=True)
    subprocess.run([umoci, "new", "--image", f"{path}:x"], check=True)
    for number, entries in enumerate(LAYERS):
        archive(tmp_path / f"{number}.tar", entries)
        subprocess.run([umoci, "raw", "add-layer", "--image", f"{path}:x", str(tmp_path / f"{number}.tar")], check=True)
    subprocess.run([umoci, "unpack", "--image", f"{path}:x", str(tmp_path / "bundle")], check=True)
    return path


def test_overlayfs_shows_what_umoci_unpacks(layout: Path, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    image = pull.load_layout(store, str(layout), Reference.parse("loaded:1"), name="x", user_namespace=userns.choose())
    assert ImageStore(store).find("loaded:1").id == image.id
    directories = LayerStore(store).directories(image)
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    child = os.fork()
    if child == 0:
        try:
            unshare(CLONE_NEWNS)
            mount.make_private()
            upper, work, merged = (str(tmp_path / name) for name in ("upper", "work", "merged"))
            mount.overlay(directories, upper, work, merged, user_xattr=False)
            ours, theirs = listing(tmp_path / "merged"), listing(tmp_path / "bundle/rootfs")
            different = {name: (ours.get(name), theirs.get(name)) for name in ours | theirs if ours.get(name) != theirs.get(name)}
            (tmp_path / "different").write_text(
                "\n".join(f"{name}: ours {one}, umoci's {other}" for name, (one, other) in different.items())
            )
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / "different").read_text() == ""


def test_a_layout_whose_blob_was_changed_is_refused(layout: Path, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    largest = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    with pytest.raises(ImageError):
        pull.load_layout(store, str(layout), Reference.parse("loaded:1"), user_namespace=userns.choose())
    assert ImageStore(store).all() == []
    assert [name for name in os.listdir(store.ingest) if not name.endswith(".part")] == []  # those are continued by the next pull


def test_links_in_a_layout_lead_nowhere(layout: Path, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "root"), str(tmp_path / "run"))
    (layout / "index.json").rename(tmp_path / "elsewhere")
    (layout / "index.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ImageError, match=r"index\.json"):
        pull.load_layout(store, str(layout), Reference.parse("loaded:1"), user_namespace=userns.choose())
