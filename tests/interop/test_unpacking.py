"""The same images unpacked by us, by umoci, by podman and by GNU tar: the same trees, byte for byte and attribute for attribute.

As root, with a range of ids, and with the one own id. What the others cannot read is compared with GNU tar, which wrote it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host, unpacking
from tests.support import images as real_images
from tests.support.images import Image, Layer
from tests.support.installation import CHECKOUT
from tests.support.programs import Account
from tests.support.tars import END, extended, header, member, octal, padded, records
from tests.support.trees import Tree, assert_same, listing

CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
TREES = CHECKOUT / "tests/support/trees.py"


def entry(
    name: bytes, content: bytes = b"", *, kind: bytes = b"0", mode: int = 0o644, owner: tuple[int, int] = (0, 0),
    mtime: bytes = b"1600000000", link: bytes = b"", device: tuple[int, int] | None = None, **attributes: bytes,
) -> bytes:  # fmt: skip
    """A member with a pax header; in the names of `attributes`, `__` stands for a dot."""
    numbers = {"major": octal(device[0], 8), "minor": octal(device[1], 8)} if device else {}
    xattrs = [(f"SCHILY.xattr.{key.replace('__', '.')}", value) for key, value in attributes.items()]
    fields = {"mode": octal(mode, 8), "uid": octal(owner[0], 8), "gid": octal(owner[1], 8), "link": link, **numbers}
    return records(("path", name), ("mtime", mtime), *xattrs) + member(b"x", content, kind, **fields)


def directory(name: bytes, mode: int = 0o755, **more: Any) -> bytes:
    return entry(name, kind=b"5", mode=mode, **more)


ENTRIES = [
    directory(b"./"),
    directory(b"bin/"),
    entry(b"bin/su", b"su", mode=0o4755),
    entry(b"bin/wall", b"wall", mode=0o2755, owner=(0, 33), mtime=b"1600000001.123456789"),
    entry(b"bin/su2", kind=b"1", link=b"bin/su", mode=0o4755),
    entry(b"bin/link", kind=b"2", link=b"su", mode=0o777, owner=(3, 4), mtime=b"1500000000.5"),
    entry(b"bin/linked-link", kind=b"1", link=b"bin/link", mode=0o777, owner=(3, 4), mtime=b"1500000000.5"),
    entry(b"pipe", kind=b"6", mode=0o622, owner=(7, 0), mtime=b"1500000001"),
    entry(b"ping", b"ping", mode=0o755, security__capability=CAPABILITY, user__note=b"hello"),
    entry(b"empty-attribute", user__empty=b""),
    directory(b"tmp/", 0o1777),
    directory(b"mail/", 0o2775, owner=(0, 8), user__note=b"on a directory", mtime=b"1500000002.25"),
    entry(b"mail/box", b"x", owner=(0, 8)),
    directory(b"mail/old/", 0o700, owner=(9, 9)),
    directory(b"readable/", 0o555, owner=(11, 11)),
    entry(b"readable/secret", b"f", mode=0, owner=(11, 11)),
    entry(b"implied/by/this", b"deep"),
    directory(b"usr/"),
    directory(b"usr/lib/"),
    entry(b"lib", kind=b"2", link=b"usr/lib", mode=0o777),
    entry(b"abs", kind=b"2", link=b"/usr/lib", mode=0o777),
    entry(b"lib/through", b"a link"),
    entry(b"abs/through-too", b"another"),
    entry(b"up", kind=b"2", link=b"../../../../../nowhere", mode=0o777),
    entry("ä\n".encode(), b"a line in its name"),
    entry(b"d/" * 60 + b"deep", b"x"),
    entry(b"n" * 255, b"x"),
    entry(b"CASE", b"u"),
    entry(b"case", b"l"),
    entry("\u00e9".encode(), b"composed"),
    entry("e\u0301".encode(), b"decomposed"),
    extended(b"L", b"g" * 150 + b"\0") + member(b"g", b"GNU tar's long name"),
    extended(b"K", b"t" * 200 + b"\0") + member(b"long-link", kind=b"2", mode=octal(0o777, 8)),
    header(b"v7", b"\0", magic=b"", size=octal(2)) + padded(b"v7"),
    header(b"v7-directory/", b"\0", magic=b"", mode=octal(0o700, 8), mtime=octal(1_500_000_003)),
    member(b"base", b"ustar's prefix", prefix=b"pre/fix", mode=octal(0o600, 8)),
    member(b"base-256", b"x", uid=b"\x80" + (60000).to_bytes(7, "big"), mtime=b"\x80" + (1_500_000_000).to_bytes(11, "big")),
    records(("size", b"3")) + member(b"size-in-pax", b"abc", size=octal(0)),
    records(("GNU.sparse.size", b"9000"), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.offset", b"0"), ("GNU.sparse.numbytes", b"3"),
            ("GNU.sparse.offset", b"5000"), ("GNU.sparse.numbytes", b"2")) + member(b"sparse-0.0", b"abcde"),
    records(("GNU.sparse.size", b"9000"), ("GNU.sparse.numblocks", b"2"), ("GNU.sparse.name", b"sparse-0.1"),
            ("GNU.sparse.map", b"0,3,5000,2")) + member(b"GNUSparseFile.0/x", b"abcde"),
    records(("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"sparse-1.0"),
            ("GNU.sparse.realsize", b"9000")) + member(b"GNUSparseFile.0/x", b"2\n0\n3\n5000\n2\n".ljust(512, b"\0") + b"abcde"),
]  # fmt: skip
DEVICES = [
    directory(b"dev/"),
    entry(b"dev/null", kind=b"3", mode=0o666, owner=(0, 5), device=(1, 3)),
    entry(b"dev/sda", kind=b"4", mode=0o660, owner=(0, 6), device=(8, 0), mtime=b"1500000000"),
]
UMOCI_ONLY = [
    # Duplicates are refused by podman, which also brings early times to 1970 and gives a file the attributes of later links to it.
    directory(b"./"),
    entry(b"early", mtime=b"-5.25"),
    directory(b"earlier/", mtime=b"-1000000000"),
    member(b"base-256", mtime=b"\xff" * 12),
    directory(b"dev/"),
    entry(b"dev/sda", kind=b"4", mode=0o660, owner=(0, 6), device=(8, 0), mtime=b"1500000000"),
    entry(b"dev/same", kind=b"1", link=b"dev/sda", mode=0o660, owner=(0, 6), mtime=b"1500000000"),
    entry(b"linked", mode=0o755, owner=(3, 3)),
    entry(b"linked-again", kind=b"1", link=b"linked", mode=0o600),
    entry(b"twice", b"1", owner=(5, 5), mode=0o4755),
    entry(b"twice", b"second", mode=0o600),
    entry(b"flip", b"f"),
    directory(b"flip/", 0o711, owner=(3, 3)),
    directory(b"flop/"),
    entry(b"flop/in", b"x"),
    entry(b"flop", b"a file"),
    directory(b"again/", 0o700, owner=(5, 5)),
    entry(b"again/kept", b"kept"),
    directory(b"again/"),
    entry(b"link", kind=b"2", link=b"/etc/passwd", mode=0o777),
    entry(b"link", b"no longer a link"),
    entry(b"one", b"shared"),
    entry(b"two", kind=b"1", link=b"one"),
    entry(b"one", b"alone"),
]
UPPER = [
    entry(b"bin/.wh.wall"),
    entry(b"bin/su2", b"a file of its own", mode=0o755),
    directory(b"mail/", 0o770, owner=(0, 12), mtime=b"1500000004"),
    entry(b"mail/.wh..wh..opq"),
    entry(b"mail/new", b"n"),
    entry(b".wh.usr"),
    entry(b".wh.lib"),
    directory(b"lib/", 0o711),
    entry(b"lib/real", b"r"),
    entry(b"case", kind=b"2", link=b"CASE", mode=0o777),
    directory(b"v7/", 0o750, mtime=b"1500000005"),
    entry(b"v7-directory", b"now a file"),
    entry(b"ping", b"without its capability", mode=0o755),
    directory(b"./", 0o751, owner=(1, 1)),
]


@pytest.fixture(scope="module")
def layers(base: Path) -> dict[str, Layer]:
    place = base / "unpacking-blobs"
    place.mkdir(exist_ok=True)  # of one run with other modules, parameters of the session sort the tests anew: it is made twice
    return {
        name: real_images.pack(b"".join([*entries, END]), place)
        for name, entries in (("entries", ENTRIES), ("devices", ENTRIES + DEVICES), ("umoci", UMOCI_ONLY), ("upper", UPPER))
    }


BELOW = [
    directory(b""),
    entry(b"a", b"lower"),
    directory(b"d/", 0o711, owner=(3, 3)),
    entry(b"d/x", b"lower"),
    directory(b"d/y/", 0o750),
    entry(b"d/y/z", b"lower"),
    entry(b"l", kind=b"2", link=b"d", mode=0o777),
    entry(b"h", kind=b"1", link=b"a"),
]
ABOVE: dict[str, list[tuple[bytes, ...]]] = {
    "whiteout of a file": [(b".wh.a",)],
    "whiteout of a directory": [(b".wh.d",)],
    "whiteout of a link": [(b".wh.l",)],
    "whiteout of nothing": [(b".wh.missing",)],
    "whiteout in a directory": [(b"d/.wh.x",)],
    "whiteout of a deep directory": [(b"d/.wh.y",)],
    "whiteout deep down": [(b"d/y/.wh.z",)],
    "opaque": [(b"d", b"5"), (b"d/.wh..wh..opq",)],
    "opaque deep down": [(b"d/y", b"5"), (b"d/y/.wh..wh..opq",)],
    "opaque at the top": [(b"", b"5"), (b".wh..wh..opq",)],
    "a file": [(b"a", b"0")],
    "a file for a link": [(b"l", b"0")],
    "a directory for a file": [(b"a", b"5")],
    "a directory for a link": [(b"l", b"5")],
    "a link for a file": [(b"a", b"2")],
    "a directory again": [(b"d", b"5")],
    "a new file in a directory": [(b"d/n", b"0")],
    "a new file deep down": [(b"d/y/n", b"0")],
    "a file in a directory": [(b"d/x", b"0")],
    "a directory of a hidden name": [(b"d/x", b"5")],
}
"""What an upper layer may do to `BELOW`; all of it and all pairs of it, in both orders, each in a directory of its own.

Not those with an entry inside of what they hide as a whole whose own directory has no entry: what that is like then depends on the order
with umoci, and does not with us.
"""
_HIDDEN = {b".wh.d": b"d/", b"d/.wh.y": b"d/y/", b"d/.wh..wh..opq": b"d/", b"d/y/.wh..wh..opq": b"d/y/", b".wh..wh..opq": b""}


def _is_sensible(one: str, other: str) -> bool:
    names = [bytes(name) for part in (one, other) for name, *_ in ABOVE[part]]
    present = {b"", *(bytes(name) for part in (one, other) for name, *kind in ABOVE[part] if kind == [b"5"])}
    hidden = [_HIDDEN[name] for name in names if name in _HIDDEN]
    implied = [name for name in names if name.rpartition(b"/")[0] not in present]
    return one != other and not any(
        (name + b"/").startswith(directory) and _HIDDEN.get(name) != directory for name in implied for directory in hidden
    )


def _matrix() -> tuple[list[bytes], list[bytes], list[str]]:
    cases = [(name,) for name in ABOVE] + [(one, other) for one in ABOVE for other in ABOVE if _is_sensible(one, other)]
    lower, upper, names = [directory(b"./")], [directory(b"./")], []
    for number, case in enumerate(cases):
        prefix = b"%03d/" % number
        names.append(f"{number:03}: {', then '.join(case)}")
        for made in BELOW:
            lower.append(_below(made, prefix))
        for part in case:
            for name, *kind in ABOVE[part]:
                link = b"elsewhere" if kind == [b"2"] else b""
                mode = 0o700 if kind == [b"5"] else 0o640
                upper.append(
                    entry(
                        prefix + name, b"upper" if kind == [b"0"] else b"", kind=kind[0] if kind else b"0", mode=mode, link=link
                    )
                )
    return lower, upper, names


def _below(made: bytes, prefix: bytes) -> bytes:
    """The entry with its name, and a hard link's target, inside a directory."""
    member_at = len(made) - 512 * (1 if not made[-512:].startswith(b"lower") else 2)
    head = made[:512]
    length = int(head[124:135], 8)
    pairs = {}
    for line in made[512 : 512 + length].split(b"\n")[:-1]:
        key, _, value = line.partition(b" ")[2].partition(b"=")
        pairs[key.decode()] = value
    pairs["path"] = prefix + pairs.get("path", b"")
    body = made[member_at:]
    if body[156:157] == b"1":
        pairs["linkpath"] = prefix + body[157:257].rstrip(b"\0")
    return records(*pairs.items()) + body


class Comparison:
    """One image, as a layout that the account owns, and what each program made of it."""

    def __init__(self, account: Account, scratch: Path, image: Image) -> None:
        self.account, self.scratch, self.image = account, scratch, image
        real_images.write_layout(scratch / "layout", {"x": image})
        self.give(scratch)

    def give(self, path: Path) -> None:
        for found in [path, *path.rglob("*")]:
            os.chown(found, self.account.uid, self.account.gid)

    def ours(self, *, single: bool = False) -> dict[str, Any]:
        place = self.scratch / ("single" if single else "ours")
        blobs = self.scratch / "layout/blobs/sha256"
        request = {
            "directory": str(place),
            "layers": [(str(blobs / layer.path.name), layer.diff_id) for layer in self.image.layers],
            "show": True,
            "single": single,
        }
        done = self.account.run([sys.executable, "-B", str(unpacking.DRIVER), json.dumps(request)], timeout=180, status=0)
        answer: dict[str, Any] = json.loads(done.out)
        assert "error" not in answer, answer
        return answer

    def umoci(self) -> Tree:
        flags = ["--rootless"] if self.account.rootless else []
        command = [host.program("umoci"), "unpack", *flags, "--image", f"{self.scratch}/layout:x", f"{self.scratch}/bundle"]
        self.account.run(command, timeout=180, status=0)
        return self._listing(
            ["unshare", "--user", "--map-root-user"] if self.account.rootless else [], f"{self.scratch}/bundle/rootfs"
        )

    def podman(self) -> Tree:
        store = ["--root", f"{self.scratch}/store", "--runroot", f"{self.scratch}/run", "--storage-driver", "overlay"]
        podman = [host.program("podman"), *store]
        inside = [*podman, "unshare"] if self.account.rootless else []
        self.account.run([*podman, "pull", "--quiet", f"oci:{self.scratch}/layout:x"], timeout=180, status=0)
        name = self.account.run([*podman, "images", "--quiet"], status=0).out.split()[0]
        script = f'set -e; path=$("$@" image mount {name}); exec {sys.executable} -B {TREES} "$path"'
        try:
            done = self.account.run([*inside, "sh", "-c", script, "sh", *podman], timeout=180, status=0)
            return json.loads(done.out)  # type: ignore[no-any-return]
        finally:
            self.account.run([*inside, *podman, "image", "unmount", name])
            self.account.run([*podman, "rmi", "--all", "--force"])

    def _listing(self, inside: list[str], path: str) -> Tree:
        return json.loads(self.account.run([*inside, sys.executable, "-B", str(TREES), path], timeout=120, status=0).out)  # type: ignore[no-any-return]

    def remove(self) -> None:
        if self.account.rootless and host.has("podman"):
            self.account.run(["podman", "system", "migrate"])  # ends the process that holds podman's user namespace
        shutil.rmtree(self.scratch, ignore_errors=not host.IS_ROOT)


@pytest.fixture
def compare(account: Account, base: Path) -> Iterator[Any]:
    if account.run([sys.executable, "-c", ""]).status or account.run(["ls", str(CHECKOUT / "tests")]).status:
        pytest.skip("needs a checkout and an interpreter that every user may read")
    made: list[Comparison] = []

    def comparison(layers: list[Layer]) -> Comparison:
        scratch = base / f"unpacking-{account.uid}-{len(made)}"
        scratch.mkdir(mode=0o755)
        made.append(Comparison(account, scratch, real_images.image(layers, {})))
        return made[-1]

    yield comparison
    for one in made:
        one.remove()


def timeless(tree: Tree, *also: str) -> Tree:
    """Without the times of directories that the archives have no entries for: those are of the moment when they were made."""
    now = 1_700_000_000 * 10**9
    return {
        name: {key: value for key, value in found.items() if key != "mtime" or (name not in also and int(str(value)) < now)}
        for name, found in tree.items()
    }


@pytest.mark.parametrize("names", [("devices",), ("devices", "upper")], ids=" ".join)
def test_every_kind_of_entry_is_what_umoci_and_podman_make_of_it(
    compare: Any, layers: dict[str, Layer], names: tuple[str, ...]
) -> None:
    comparison: Comparison = compare([layers[name] for name in names])
    trees: dict[str, Tree] = comparison.ours()["tree"]
    # With podman, directories that a layer only implies lose what lower layers say of them.
    assert_same(timeless(trees["plain"]), timeless(comparison.podman()), ignore_root=True)
    tree = trees["overlay"]
    if not comparison.account.rootless:  # umoci has no ranges of ids; with one id it is compared below
        # umoci moves the time of the root when it makes what an image lacks.
        assert_same(timeless(tree, "."), timeless(comparison.umoci(), "."))


@pytest.mark.parametrize("names", [("entries",), ("entries", "upper")], ids=" ".join)
def test_with_one_id_everything_but_owners_is_what_umoci_makes_of_it(
    compare: Any, layers: dict[str, Layer], names: tuple[str, ...]
) -> None:
    comparison: Comparison = compare([layers[name] for name in names])
    if not comparison.account.rootless:
        pytest.skip("root has all ids")
    answer = comparison.ours(single=True)
    tree: Tree = answer["tree"]["overlay"]
    written = {name: found.pop("attributes", {}) for name, found in tree.items()}
    theirs = comparison.umoci()
    for found in theirs.values():
        found.pop("attributes", None)
    assert_same(timeless(tree, "."), timeless(theirs, "."), ignore=("owner",))
    assert {found["owner"] for found in tree.values()} == {"0:0"}
    owner = "user.containers.override_stat"
    kept = {name for name, attributes in written.items() if owner in json.dumps(attributes)}
    assert "readable" in kept and "bin/su" not in kept


def test_duplicates_early_times_and_links_of_other_modes_are_what_umoci_makes_of_them(
    compare: Any, layers: dict[str, Layer]
) -> None:
    comparison: Comparison = compare([layers["umoci"]])
    if comparison.account.rootless:
        pytest.skip("umoci has no ranges of ids")
    tree: Tree = comparison.ours()["tree"]["overlay"]
    assert_same(timeless(tree, "."), timeless(comparison.umoci(), "."))


def test_a_copy_of_the_layers_is_what_the_overlay_shows(compare: Any, layers: dict[str, Layer]) -> None:
    for names in (("devices",), ("devices", "upper"), ("umoci",)):
        trees = compare([layers[name] for name in names]).ours()["tree"]
        assert_same(trees["copy"], trees["overlay"])


def test_a_debian_with_nginx_is_what_umoci_and_podman_unpack(compare: Any) -> None:
    comparison: Comparison = compare(real_images.debian_layers())
    trees: dict[str, Tree] = comparison.ours()["tree"]
    tree = trees["overlay"]
    assert len(tree) > 5000
    assert_same(timeless(trees["plain"], "."), timeless(comparison.podman(), "."), ignore_root=True)
    if not comparison.account.rootless:
        assert_same(timeless(tree, "."), timeless(comparison.umoci(), "."))


def test_whiteouts_and_opaque_directories_in_every_order_leave_what_umoci_leaves(
    compare: Any, base: Path, account: Account
) -> None:
    if account.rootless:
        pytest.skip("umoci has no ranges of ids")
    lower, upper, names = _matrix()
    assert len(names) > 250
    place = base / "matrix-blobs"
    place.mkdir()
    comparison: Comparison = compare([real_images.pack(b"".join([*entries, END]), place) for entries in (lower, upper)])
    tree, theirs = comparison.ours()["tree"]["overlay"], comparison.umoci()
    assert_same(tree, theirs, ignore=("mtime",))  # umoci moves the times of directories in which it removes something


# --- GNU tar


FORMATS = [
    ["--format=v7"],
    ["--format=oldgnu"],
    ["--format=gnu"],
    ["--format=ustar"],
    ["--format=posix"],
    ["--format=posix", "--pax-option=comment=global"],
    ["--format=gnu", "--sparse"],
    ["--format=oldgnu", "--sparse"],
    *(["--format=posix", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ["--format=posix", "--xattrs", "--xattrs-include=*", "--sparse"],
]


@pytest.mark.parametrize("flags", FORMATS, ids=" ".join)
def test_every_dialect_of_gnu_tar_is_what_gnu_tar_extracts(
    flags: list[str], base: Path, ourselves: Account, tmp_path: Path
) -> None:
    host.need_root()
    tar = host.program("tar")
    source = tmp_path / "source"
    _fill(source, long_names=flags[0] not in ("--format=v7", "--format=ustar"))
    if flags[0] == "--format=v7":
        (source / "fifo").unlink()  # it has no type for these
    archive = tmp_path / "layer.tar"
    subprocess.run([tar, "--create", "--file", archive, *flags, "--directory", source, "."], check=True)
    (tmp_path / "extracted").mkdir()
    attributes = ["--xattrs", "--xattrs-include=*"] if "--xattrs" in flags else []
    command = [tar, "--extract", "--same-owner", "--same-permissions", "--numeric-owner", *attributes]
    subprocess.run([*command, "--file", archive, "--directory", tmp_path / "extracted"], check=True)
    (tmp_path / "blobs").mkdir()
    layer = real_images.pack(archive, tmp_path / "blobs")
    request = {"directory": str(tmp_path / "ours"), "layers": [(str(layer.path), layer.diff_id)]}
    done = ourselves.run([sys.executable, "-B", str(unpacking.DRIVER), json.dumps(request)], status=0)
    answer = json.loads(done.out)
    assert "error" not in answer, answer
    tree = listing(answer["trees"][0])
    assert_same(tree, listing(str(tmp_path / "extracted")))
    assert len(tree) >= 10
    if "--sparse" in flags:
        assert os.stat(f"{answer['trees'][0]}/holes").st_blocks * 512 < 1 << 20


def _fill(root: Path, *, long_names: bool) -> None:
    root.mkdir()
    (root / "directory").mkdir(mode=0o750)
    (root / "directory/file").write_text("content")
    os.link(root / "directory/file", root / "hard")
    (root / "link").symlink_to("directory/file")
    os.mkfifo(root / "fifo", 0o640)
    for name, size in (("empty", 0), ("block", 512), ("odd", 1025)):
        (root / name).write_bytes(b"x" * size)
    with open(root / "holes", "wb") as file:
        for number in range(40):
            file.seek(number * 100_000)
            file.write(b"piece %d" % number)
        file.truncate(5_000_000)
    with open(root / "nothing but a hole", "wb") as file:
        file.truncate(1_000_000)
    os.chown(root / "odd", 1234, 5678)
    (root / "block").chmod(0o4711)
    os.setxattr(root / "odd", "user.note", b"x")
    if long_names:
        (root / ("l" * 200)).write_text("long")
        (root / "to").symlink_to("t/" * 150)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (1_600_000_000, 1_600_000_000), follow_symlinks=False)
