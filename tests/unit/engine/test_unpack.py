"""Entries made real below a directory: what overlayfs needs, and no way out. Runs as anyone, with the ids of *single* mode."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers import entries
from crate_engine.layers.entries import Action, Entry
from crate_engine.layers.sparse import Sparse
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
        rest = memoryview(content)

        def write(fd: int, size: int) -> None:
            nonlocal rest
            assert os.write(fd, rest[:size]) == size
            rest = rest[size:]

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


def test_parents_that_were_resolved_before_are_looked_up_again_once_a_link_on_the_way_was_replaced(layer: Layer) -> None:
    layer.put("one", Action.DIRECTORY)
    layer.put("two", Action.DIRECTORY)
    layer.put("way", Action.SYMLINK, "one")
    layer.put("way/first")
    layer.put("way", Action.SYMLINK, "two")
    layer.put("way/second")
    layer.put("way", Action.SYMLINK, str(layer.canary))
    with pytest.raises(LayerError):
        layer.put("way/third")
    layer.put("way", Action.DIRECTORY)
    layer.put("way/fourth")
    assert layer.tree() == {
        "one": "d",
        "one/first": "f",
        "two": "d",
        "two/second": "f",
        "way": "o",
        "way/fourth": "f",
    }


def test_a_directory_on_the_way_that_was_replaced_is_not_written_to_through_an_old_descriptor(layer: Layer) -> None:
    layer.put("a/b/f")
    layer.put("a", Action.SYMLINK, str(layer.canary))
    with pytest.raises(LayerError):
        layer.put("a/b/g")
    with pytest.raises(LayerError):
        layer.put("a/file", content=b"dead")
    layer.put("a", content=b"x")
    layer.put("a", Action.DIRECTORY)
    layer.put("a/b/g")
    assert layer.tree() == {"a": "o", "a/b": "d", "a/b/g": "f"}


def test_links_that_lead_through_a_replaced_directory_and_back_are_followed_anew(layer: Layer) -> None:
    layer.put("name/deep", Action.DIRECTORY)
    layer.put("up", Action.SYMLINK, "name/..")
    layer.put("up/first")
    layer.put("other/place", Action.DIRECTORY)
    layer.put("name", Action.SYMLINK, "other/place")
    layer.put("up/second")
    assert layer.tree() == {
        "name": "l",
        "up": "l",
        "first": "f",
        "other": "d",
        "other/place": "d",
        "other/second": "f",
    }


def test_chains_of_links_end(layer: Layer) -> None:
    for number in range(64):
        layer.put(f"l{number}", Action.SYMLINK, f"l{number + 1}")
    with pytest.raises(LayerError, match="Too many levels"):
        layer.put("l0/f")
    layer.put("l64", Action.DIRECTORY)
    layer.put("l30/f")
    assert layer.tree()["l64/f"] == "f"


def test_attributes_of_a_link_are_not_those_of_its_target(layer: Layer) -> None:
    layer.put("target", content=b"x", mode=0o600, mtime_ns=7 * 10**9)
    layer.put("l", Action.SYMLINK, "target", mode=0o777, mtime_ns=9 * 10**9, xattrs={"user.note": b"x"})
    layer.put("out", Action.SYMLINK, str(layer.canary), mode=0o777, mtime_ns=9 * 10**9, xattrs={"user.note": b"x"}, uid=5)
    layer.put("h", Action.HARD_LINK, "target", mode=0o4777, mtime_ns=9 * 10**9, uid=5)
    assert layer.tree()["l"] == "l"
    status = os.stat(layer.root / "target")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o600, 7)
    assert os.listxattr(layer.root / "target") == os.listxattr(layer.canary) == []


@pytest.mark.parametrize("target", ["/etc/shadow", "../../etc/shadow", "etc/shadow"])
def test_hard_links_reach_nothing_of_the_host(layer: Layer, target: str) -> None:
    link = entries.clean(target.encode()).decode()
    with pytest.raises(LayerError, match="not in the layer"):
        layer.put("h", Action.HARD_LINK, link)
    layer.put("etc/shadow")
    layer.put("h", Action.HARD_LINK, link)
    assert os.stat(layer.root / "h").st_ino == os.stat(layer.root / "etc/shadow").st_ino


def test_a_hard_link_is_no_second_name_of_a_whiteout(layer: Layer) -> None:
    layer.put("w", Action.WHITEOUT)
    with pytest.raises(LayerError, match="not in the layer"):
        layer.put("h", Action.HARD_LINK, "w")
    assert layer.tree() == {"w": "c"}


def test_hard_links_to_what_is_left_out_are_left_out(layer: Layer) -> None:
    layer.put("sda", Action.BLOCK_DEVICE, device=(8, 0))
    layer.put("same", Action.HARD_LINK, "sda")
    layer.put("again", Action.HARD_LINK, "same")
    assert layer.tree() == {}


def test_a_file_with_holes_takes_the_space_of_its_pieces(layer: Layer) -> None:
    layer.put("f", content=b"abcde", sparse=Sparse(1 << 30, [(0, 3), (1 << 29, 2)]))
    layer.tree()
    with open(layer.root / "f", "rb") as file:
        assert (file.read(4), file.seek(1 << 29), file.read(3)) == (b"abc\0", 1 << 29, b"de\0")
        assert os.fstat(file.fileno()).st_size == 1 << 30
        assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20


def test_of_a_directory_that_comes_again_nothing_of_before_stays(layer: Layer) -> None:
    layer.put("d", Action.DIRECTORY, mode=0o700, uid=3, gid=4, xattrs={"user.note": b"old"})
    layer.put("d/kept")
    layer.put("d", Action.DIRECTORY, mode=0o755, xattrs={"user.new": b"x"})
    layer.put("gone/d", Action.DIRECTORY, mode=0o700, uid=3, xattrs={"user.note": b"old"})
    layer.put("gone")
    layer.put("gone", Action.DIRECTORY)
    layer.put("gone/d/f")
    layer.tree()
    assert os.listxattr(layer.root / "d") == ["user.new"]
    assert os.listxattr(layer.root / "gone/d") == []
    assert [stat.S_IMODE((layer.root / name).stat().st_mode) for name in ("d", "gone/d")] == [0o755, 0o755]
    assert list(layer.unpacker.implied) == [b"", b"gone/d"]


def test_the_last_name_of_a_directory_decides_its_attributes(layer: Layer) -> None:
    layer.put("usr/lib", Action.DIRECTORY, mode=0o711)
    layer.put("lib", Action.SYMLINK, "usr")
    layer.put("lib/lib", Action.DIRECTORY, mode=0o750)
    layer.tree()
    assert stat.S_IMODE((layer.root / "usr/lib").stat().st_mode) == 0o750


def test_what_the_archive_has_no_entries_for_is_told(layer: Layer) -> None:
    layer.put("a/b/f")
    layer.put("a", Action.DIRECTORY)
    layer.put("c/d", Action.DIRECTORY)
    layer.put("e/f")
    layer.put("e")
    layer.tree()
    assert list(layer.unpacker.implied) == [b"", b"a/b", b"c"]


def test_directories_that_are_only_implied_are_limited(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAYER_ENTRIES", 5)
    layer.put("1/2/3/4/5/f")
    with pytest.raises(LayerError, match="more than 5 directories"):
        layer.put("6/f")


def test_a_store_whose_directories_give_their_group_and_rights_to_new_files_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "inherits").mkdir()
    os.chmod(tmp_path / "inherits", 0o2777)
    default_acl = struct.pack("<IHHIHHIHHI", 2, 0x01, 7, 0xFFFFFFFF, 0x04, 0, 0xFFFFFFFF, 0x20, 0, 0xFFFFFFFF)
    with suppress(OSError):  # a file system without access control lists
        os.setxattr(tmp_path / "inherits", "system.posix_acl_default", default_acl)
    old = os.umask(0)
    layer = Layer(tmp_path / "inherits")
    layer.put("d/f", mode=0o664)
    layer.put("g", mode=0o666)
    layer.unpacker.finish()
    os.umask(old)
    os.close(layer.fd)
    assert [stat.S_IMODE(os.stat(layer.root / name).st_mode) for name in ("d", "d/f", "g")] == [0o755, 0o664, 0o666]


def test_directories_that_come_again_and_again_are_not_looked_through_each_time(layer: Layer) -> None:
    layer.put("d/w", Action.WHITEOUT)
    layer.put("d", Action.OPAQUE)
    for number in range(100):
        layer.put(f"d/{number}")
    layer.put("d", Action.DIRECTORY)
    layer.put("d", Action.DIRECTORY)
    for _ in range(20):
        layer.put("d", Action.DIRECTORY)
    with pytest.raises(LayerError, match="too often"):
        layer.tree()


def test_work_grows_as_the_number_of_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: what an entry costs in calls does not depend on how many there are, whatever they do to each other."""

    def calls(count: int) -> int:
        counted = 0
        directory = tmp_path / str(count)
        directory.mkdir()
        layer = Layer(directory)
        for name in ("open", "mkdir", "mknod", "stat", "link", "unlink", "listdir", "utime", "close", "setxattr", "rmdir"):
            original = getattr(os, name)

            def counting(*arguments: Any, original: Any = original, **more: Any) -> Any:
                nonlocal counted
                counted += 1
                return original(*arguments, **more)

            monkeypatch.setattr(os, name, counting)
        for number in range(count):
            layer.put(f"same/directory/{number}")
            layer.put(f"same/directory/{number}", Action.WHITEOUT)
            layer.put(f"far/{number}/apart/f")
            layer.put("flip", Action.DIRECTORY if number % 2 else Action.FILE)
            layer.put(f"h{number}", Action.HARD_LINK, "same/directory/0")
            layer.put("same", Action.DIRECTORY)
        layer.unpacker.finish()
        monkeypatch.undo()
        os.close(layer.fd)
        return counted

    few, many = calls(100), calls(200)
    assert many < 2.2 * few


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
    ([("x/d", Action.OPAQUE), ("x/d/w", Action.WHITEOUT)], {"x": "d", "x/d": "o"}),
    ([("x/d/w", Action.WHITEOUT), ("x/d", Action.OPAQUE)], {"x": "d", "x/d": "o"}),
    ([("x", Action.OPAQUE), ("x/d/w", Action.WHITEOUT)], {"x": "o", "x/d": "d"}),
    ([("x/d/w", Action.WHITEOUT), ("x/d/f", Action.FILE), ("x", Action.OPAQUE)], {"x": "o", "x/d": "d", "x/d/f": "f"}),
    ([("x/d/w", Action.WHITEOUT), ("y", Action.OPAQUE)], {"x": "d", "x/d": "d", "x/d/w": "c", "y": "o"}),
    ([("x", Action.OPAQUE), ("x/w", Action.WHITEOUT), ("x/w", Action.FILE)], {"x": "o", "x/w": "f"}),
    ([("x", Action.OPAQUE), ("x/w", Action.DIRECTORY), ("x/w", Action.WHITEOUT)], {"x": "o", "x/w": "o"}),
    ([("a", Action.WHITEOUT), ("", Action.OPAQUE)], {}),
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
