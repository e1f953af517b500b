"""Entries made real below a directory: what overlayfs needs, and no way out. Runs as anyone, with the ids of *single* mode."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crate_engine.errors import LayerError
from crate_engine.layers.entries import Action, Entry
from crate_engine.layers.unpack import OWNER_XATTR, Unpacker

OPAQUE = "user.overlay.opaque"


class Layer:
    """An unpacker on an empty directory, beside a canary that nothing may change."""

    def __init__(self, directory: Path, mode: str = "single") -> None:
        self.root = directory / "fs"
        self.root.mkdir()
        self.canary = directory / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text("alive")
        os.utime(self.canary, (1, 1))
        os.chmod(self.canary, 0o755)
        self.fd = os.open(self.root, os.O_RDONLY)
        self.unpacker = Unpacker(self.fd, mode)

    def put(self, path: str, action: Action = Action.FILE, link: str = "", content: bytes = b"x", **fields: object) -> None:
        entry = Entry(
            action=action,
            path=path.encode(),
            link=link.encode(),
            mode=0o644,
            uid=0,
            gid=0,
            size=0,
            mtime_ns=5 * 10**9,
            device=(0, 0),
            xattrs={},
        )
        if action is Action.DIRECTORY:
            entry.mode = 0o755
        for name, value in fields.items():
            setattr(entry, name, value)
        if action is Action.FILE:
            entry.size = len(content)
        self.unpacker.apply(entry, self._writer(content))

    @staticmethod
    def _writer(content: bytes) -> Callable[[int, int], None]:
        def write(fd: int, size: int) -> None:
            assert os.write(fd, content) == size

        return write

    def tree(self) -> dict[str, str]:
        self.unpacker.finish()
        found = {}
        for directory, names, files in os.walk(self.root):
            for name in names + files:
                path = os.path.join(directory, name)
                mode = os.lstat(path).st_mode
                kind = {stat.S_IFDIR: "d", stat.S_IFREG: "f", stat.S_IFLNK: "l", stat.S_IFIFO: "p", stat.S_IFCHR: "c"}[
                    stat.S_IFMT(mode)
                ]
                if kind == "d" and OPAQUE in os.listxattr(path):
                    kind = "o"
                found[os.path.relpath(path, self.root)] = kind
        return found


@pytest.fixture
def layer(tmp_path: Path) -> Iterator[Layer]:
    old = os.umask(0)
    made = Layer(tmp_path)
    yield made
    os.umask(old)
    made.unpacker.close()
    os.close(made.fd)
    assert (made.canary / "file").read_text() == "alive"
    assert os.listdir(made.canary) == ["file"]
    assert made.canary.stat().st_mtime == 1
    assert stat.S_IMODE(made.canary.stat().st_mode) == 0o755


def test_every_kind_of_entry_is_made_with_its_mode_and_time(layer: Layer) -> None:
    layer.put("d", Action.DIRECTORY, mode=0o1750, mtime_ns=7 * 10**9)
    layer.put("d/f", content=b"hello", mode=0o4711, mtime_ns=1_500_000_001)
    layer.put("d/l", Action.SYMLINK, "../nowhere")
    layer.put("d/h", Action.HARD_LINK, "d/f")
    layer.put("d/p", Action.FIFO, mode=0o622)
    assert layer.tree() == {"d": "d", "d/f": "f", "d/l": "l", "d/h": "f", "d/p": "p"}
    status = os.lstat(layer.root / "d/f")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns, status.st_nlink) == (0o4711, 1_500_000_001, 2)
    directory = os.lstat(layer.root / "d")
    assert (stat.S_IMODE(directory.st_mode), directory.st_mtime) == (0o1750, 7)
    assert os.lstat(layer.root / "d/l").st_mtime == 5
    assert stat.S_IMODE(os.lstat(layer.root / "d/p").st_mode) == 0o622
    assert (layer.root / "d/f").read_bytes() == b"hello"


def test_missing_parents_are_made_and_the_root_has_attributes_too(layer: Layer) -> None:
    layer.put("a/b/c/f")
    layer.put("", Action.DIRECTORY, mode=0o711)
    assert layer.tree() == {"a": "d", "a/b": "d", "a/b/c": "d", "a/b/c/f": "f"}
    assert stat.S_IMODE(layer.root.stat().st_mode) == 0o711
    assert stat.S_IMODE((layer.root / "a/b").stat().st_mode) == 0o755


def test_the_last_of_several_entries_with_one_name_counts(layer: Layer) -> None:
    layer.put("x", content=b"one")
    layer.put("x", content=b"three")
    layer.put("y/deep/file")
    layer.put("y", content=b"file now")
    layer.put("z", Action.SYMLINK, "y")
    layer.put("z", Action.DIRECTORY)
    layer.put("z/f")
    assert layer.tree() == {"x": "f", "y": "f", "z": "o", "z/f": "f"}
    assert (layer.root / "x").read_bytes() == b"three"


def test_a_directory_that_comes_twice_keeps_its_content_and_takes_the_last_mode(layer: Layer) -> None:
    layer.put("d", Action.DIRECTORY, mode=0o700)
    layer.put("d/f")
    layer.put("d", Action.DIRECTORY, mode=0o711)
    assert layer.tree() == {"d": "d", "d/f": "f"}
    assert stat.S_IMODE((layer.root / "d").stat().st_mode) == 0o711


def test_an_implied_directory_does_not_inherit_what_was_replaced(layer: Layer) -> None:
    layer.put("d", Action.DIRECTORY, mode=0o700)
    layer.put("d", Action.SYMLINK, "nowhere")
    layer.put("d", Action.DIRECTORY, mode=0o711)
    layer.put("e", Action.DIRECTORY, mode=0o700)
    layer.put("e")
    assert layer.tree() == {"d": "o", "e": "f"}
    assert stat.S_IMODE((layer.root / "e").stat().st_mode) == 0o644


@pytest.mark.parametrize("target", ["/canary", "../canary", "../../../../../canary", "/proc/self/root", "/proc/self/cwd"])
def test_links_never_lead_out_of_the_root(layer: Layer, target: str) -> None:
    layer.put("out", Action.SYMLINK, target)
    layer.put("abs", Action.SYMLINK, str(layer.canary))
    for name in ("out", "abs"):
        with pytest.raises(LayerError):
            layer.put(f"{name}/file", content=b"dead")
        with pytest.raises(LayerError):
            layer.put(f"{name}/new", Action.DIRECTORY)
        with pytest.raises(LayerError, match="hard link"):
            layer.put("h", Action.HARD_LINK, f"{name}/file")
        layer.put(name, Action.FILE, content=b"in place of the link")
    assert layer.tree() == {"out": "f", "abs": "f"}


def test_a_link_to_a_directory_of_the_layer_is_followed_inside(layer: Layer) -> None:
    layer.put("usr/lib", Action.DIRECTORY)
    layer.put("lib", Action.SYMLINK, "/usr/lib")
    layer.put("lib/f")
    layer.put("up", Action.SYMLINK, "../../../usr")
    layer.put("up/lib/g")
    layer.put("h", Action.HARD_LINK, "lib/f")
    assert layer.tree() == {"usr": "d", "usr/lib": "d", "usr/lib/f": "f", "usr/lib/g": "f", "lib": "l", "up": "l", "h": "f"}


def test_a_link_that_takes_a_directorys_place_is_not_followed_to_set_its_mode(layer: Layer) -> None:
    layer.put("d", Action.DIRECTORY, mode=0o777)
    layer.put("d", Action.SYMLINK, str(layer.canary))
    assert layer.tree() == {"d": "l"}


def test_hard_links_to_links_do_not_reach_what_those_point_to(layer: Layer) -> None:
    layer.put("s", Action.SYMLINK, str(layer.canary / "file"))
    layer.put("h", Action.HARD_LINK, "s")
    assert layer.tree() == {"s": "l", "h": "l"}


@pytest.mark.parametrize("target", ["missing", "h", "d", "f/below"])
def test_hard_links_to_nothing_are_errors(layer: Layer, target: str) -> None:
    layer.put("d", Action.DIRECTORY)
    layer.put("f")
    with pytest.raises(LayerError, match="/h"):
        layer.put("h", Action.HARD_LINK, target)


def test_a_file_is_no_directory_for_what_comes_later(layer: Layer) -> None:
    layer.put("a")
    with pytest.raises(LayerError, match=r"/a/b: Not a directory"):
        layer.put("a/b")
    assert layer.tree() == {"a": "f"}


# (entries in order; what overlayfs is to find)
WHITEOUTS: list[tuple[list[tuple[str, Action]], dict[str, str]]] = [
    ([("a", Action.WHITEOUT)], {"a": "c"}),
    ([("d/a", Action.WHITEOUT)], {"d": "d", "d/a": "c"}),
    ([("a", Action.WHITEOUT), ("a", Action.WHITEOUT)], {"a": "c"}),
    ([("a", Action.WHITEOUT), ("a", Action.FILE)], {"a": "f"}),
    ([("a", Action.FILE), ("a", Action.WHITEOUT)], {"a": "f"}),
    ([("a", Action.WHITEOUT), ("a", Action.DIRECTORY)], {"a": "o"}),
    ([("a", Action.DIRECTORY), ("a", Action.WHITEOUT)], {"a": "o"}),
    ([("a", Action.WHITEOUT), ("a/b", Action.FILE)], {"a": "o", "a/b": "f"}),
    ([("a/b", Action.FILE), ("a", Action.WHITEOUT)], {"a": "o", "a/b": "f"}),
    ([("a", Action.WHITEOUT), ("a/b/c", Action.FILE)], {"a": "o", "a/b": "d", "a/b/c": "f"}),
    ([("d", Action.OPAQUE)], {"d": "o"}),
    ([("d/f", Action.FILE), ("d", Action.OPAQUE)], {"d": "o", "d/f": "f"}),
    ([("d", Action.OPAQUE), ("d/f", Action.FILE)], {"d": "o", "d/f": "f"}),
    ([("d", Action.OPAQUE), ("d", Action.DIRECTORY)], {"d": "o"}),
    ([("d", Action.OPAQUE), ("d", Action.FILE)], {"d": "f"}),
    ([("x/d", Action.OPAQUE), ("x/d/w", Action.WHITEOUT)], {"x": "d", "x/d": "o", "x/d/w": "c"}),
    ([("a", Action.FILE), ("a", Action.DIRECTORY)], {"a": "o"}),
    ([("a", Action.NOTHING)], {}),
]


@pytest.mark.parametrize(("steps", "expected"), WHITEOUTS, ids=str)
def test_whiteouts_hide_the_layers_below_and_nothing_of_this_one(
    layer: Layer, steps: list[tuple[str, Action]], expected: dict[str, str]
) -> None:
    for path, action in steps:
        layer.put(path, action)
    assert layer.tree() == expected
    for path, kind in expected.items():
        if kind == "c":
            assert os.lstat(layer.root / path).st_rdev == 0


def test_overlay_orders_in_attributes_are_dropped_and_users_own_are_kept(layer: Layer) -> None:
    attributes = {
        "user.note": b"kept\0",
        "user.overlay.opaque": b"y",
        "user.overlay.redirect": b"../../..",
        "trusted.overlay.redirect": b"/etc",
        "security.selinux": b"x",
        "system.posix_acl_access": b"x",
        "user.containers.override_stat": b"0:0:0777",
    }
    layer.put("d", Action.DIRECTORY, xattrs=dict(attributes))
    layer.put("f", xattrs=dict(attributes))
    layer.tree()
    for name in ("d", "f"):
        assert [(key, os.getxattr(layer.root / name, key)) for key in os.listxattr(layer.root / name)] == [
            ("user.note", b"kept\0")
        ]


def test_with_one_id_the_owner_is_written_down(layer: Layer) -> None:
    layer.put("f", uid=33, gid=44, mode=0o4755)
    layer.put("mine")
    layer.tree()
    assert os.getxattr(layer.root / "f", OWNER_XATTR) == b"33:44:04755"
    assert os.lstat(layer.root / "f").st_uid == os.geteuid()
    assert OWNER_XATTR not in os.listxattr(layer.root / "mine")


def test_devices_are_left_out_where_they_cannot_be_made(layer: Layer) -> None:
    layer.put("null", Action.CHARACTER_DEVICE, device=(1, 3))
    layer.put("disk", Action.BLOCK_DEVICE, device=(8, 0))
    assert layer.tree() == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: devices, foreign owners, file capabilities")
def test_root_makes_devices_but_no_whiteout_from_one_and_keeps_owners_and_capabilities(tmp_path: Path) -> None:
    layer = Layer(tmp_path, "root")
    revision_3 = struct.pack("<IIIIII", 0x03000001, 1 << 13, 0, 0, 0, 100000)
    layer.put("null", Action.CHARACTER_DEVICE, device=(1, 3), uid=0, gid=5)
    layer.put("hidden", Action.CHARACTER_DEVICE, device=(0, 0))
    layer.put("ping", uid=12, gid=34, mode=0o755, xattrs={"security.capability": revision_3})
    layer.put("bad", xattrs={"security.capability": b"x" * 20})
    layer.put("set", uid=7, mode=0o6755)
    layer.put("d", Action.OPAQUE)
    layer.unpacker.finish()
    assert sorted(os.listdir(layer.root)) == ["bad", "d", "null", "ping", "set"]
    null = os.lstat(layer.root / "null")
    assert (stat.S_ISCHR(null.st_mode), os.major(null.st_rdev), os.minor(null.st_rdev), null.st_gid) == (True, 1, 3, 5)
    ping = os.lstat(layer.root / "ping")
    assert (ping.st_uid, ping.st_gid) == (12, 34)
    assert os.getxattr(layer.root / "ping", "security.capability") == struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    assert os.listxattr(layer.root / "bad") == []
    assert stat.S_IMODE(os.lstat(layer.root / "set").st_mode) == 0o6755
    assert os.listxattr(layer.root / "d") == ["trusted.overlay.opaque"]
    os.close(layer.fd)


def test_no_file_descriptor_is_left_open(layer: Layer) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        layer.put(f"d{number}/f")
    with pytest.raises(LayerError):
        layer.put("d1/h", Action.HARD_LINK, "missing")
    layer.unpacker.finish()
    assert len(os.listdir("/proc/self/fd")) == before - 1  # its record of directories was open before
