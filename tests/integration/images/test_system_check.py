"""`crate system check`: what it finds in a damaged store, and that a repair mends one thing and touches nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support.engine import Crate
from tests.support.programs import Account

LAYERS = [layer({"etc/": b"", "etc/name": b"base", "bin/": b"", "bin/a": b"#!" * 3000}), layer({"etc/name": b"above"})]


class Depot:
    """A store with one image in two layers, from a registry that counts."""

    def __init__(self, crate: Crate, server: Server) -> None:
        self.crate = crate
        self.server = server
        server.image("app", "1", layers=LAYERS, docker=True)
        self.image = f"{server.host}/app:1"
        crate("pull", "-q", self.image, env=self.environment)
        self.manifest: dict[str, Any] = json.loads(self.blob(self.entries[0]["digest"]).read_bytes())

    environment = {"NO_PROXY": "127.0.0.1"}

    @property
    def index(self) -> Path:
        return self.crate.root / "oci/index.json"

    @property
    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.index.read_bytes())["manifests"]
        return found

    def blob(self, digest: str) -> Path:
        return self.crate.root / "oci/blobs" / digest.replace(":", "/")

    def layer_blob(self) -> Path:
        return self.blob(self.manifest["layers"][0]["digest"])

    def layers(self) -> list[Path]:
        return sorted(path for path in (self.crate.root / "layers").glob("*/*"))

    def layer_of(self, name: str) -> Path:
        return next(path for path in self.layers() if (path / "fs" / name).exists())

    def check(self, *flags: str, status: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.crate.out("system", "check", "--json", *flags, status=status))
        return found

    def docker_manifest(self) -> Path:
        """What the manifest came as; a push sends it so."""
        return self.blob(self.entries[0]["annotations"]["crate.image.original"])

    def problems(self, *flags: str, status: int = 0) -> list[tuple[str, str]]:
        return [(one["kind"], one["problem"]) for one in self.check(*flags, status=status)["findings"]]

    def is_whole(self) -> None:
        assert self.check("--full")["findings"] == []
        assert self.image in self.crate.out("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()

    def snapshot(self) -> dict[str, tuple[int, int]]:
        """Every file of the store, by inode and time: what was not touched is the same."""
        found = {}
        for directory, _, names in os.walk(self.crate.root):
            for name in names:
                status = os.lstat(f"{directory}/{name}")
                found[f"{directory}/{name}"] = (status.st_ino, status.st_mtime_ns)
        return found


@pytest.fixture
def depot(account: Account, bin_directory: Path, base: Path, server: Server) -> Iterator[Depot]:
    crate = Crate(bin_directory / "crate", base / f"depot-{account.uid}", account)
    yield Depot(crate, server)
    crate.remove_containers()
    crate.destroy()


def flip(path: Path) -> None:
    """One byte in the middle, the size and the times stay."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    """What a file system leaves of a file whose content was not written back."""
    path.write_bytes(bytes(path.stat().st_size))


DAMAGE: dict[str, tuple[Callable[[Depot], object], str, str, bool, int]] = {
    # what is done, kind, problem, whether only a thorough look finds it, how many blobs the repair fetches
    "a blob that is cut short": (lambda d: cut(d.layer_blob()), "blob", r"has \d+ bytes, not", False, 1),
    "a blob that is missing": (lambda d: d.layer_blob().unlink(), "blob", "missing", False, 1),
    "a blob with another content": (lambda d: flip(d.layer_blob()), "blob", "changed on disk", True, 1),
    "a configuration with another content": (lambda d: flip(d.blob(d.manifest["config"]["digest"])), "blob", "changed", False, 1),
    "a manifest that is missing": (lambda d: d.blob(d.entries[0]["digest"]).unlink(), "blob", "missing", False, 0),
    "a manifest with another content": (lambda d: zero(d.blob(d.entries[0]["digest"])), "blob", "changed", False, 0),
    "docker's manifest with another content": (lambda d: flip(d.docker_manifest()), "blob", "changed on disk", True, 0),
    "an index that is cut short": (lambda d: cut(d.index), "index", "", False, 0),
    "an index of zeros": (lambda d: zero(d.index), "index", "", False, 0),
    "an index that is missing": (lambda d: d.index.unlink(), "index", "missing", False, 0),
    "a layout without its mark": (lambda d: (d.index.parent / "oci-layout").unlink(), "index", "missing", False, 0),
    "a layer without its record": (lambda d: (d.layers()[0] / "layer.json").unlink(), "layer", "no record", False, 0),
    "a layer with a damaged record": (lambda d: zero(d.layers()[0] / "layer.json"), "layer", "damaged", False, 0),
    "a layer with another's record": (
        lambda d: shutil.copy(d.layers()[1] / "layer.json", d.layers()[0] / "layer.json"),
        "layer",
        "another layer",
        False,
        0,
    ),
    "a layer without its tree": (lambda d: shutil.rmtree(d.layers()[0] / "fs"), "layer", "tree is missing", False, 0),
    "a file that was changed": (lambda d: flip(d.layer_of("bin/a") / "fs/bin/a"), "layer", "/bin/a: its content", True, 0),
    "a file that is missing": (lambda d: (d.layer_of("bin/a") / "fs/bin/a").unlink(), "layer", "/bin/a is missing", True, 0),
    "a file that came": (lambda d: (d.layer_of("bin/a") / "fs/bin/b").write_text(""), "layer", "/bin/b is not", True, 0),
    "a lock that is a directory": (lambda d: (d.crate.root / "locks/layer-x").mkdir(), "lock", "no lock file", False, 0),
}


ACCOUNTS = [("root", case) for case in DAMAGE] + [("rootless", case) for case, row in DAMAGE.items() if row[1] == "layer"]


@pytest.mark.parametrize(("account", "case"), ACCOUNTS, indirect=["account"])
def test_damage_is_found_and_repaired_alone(depot: Depot, case: str) -> None:
    act, kind, problem, only_full, fetched = DAMAGE[case]
    # a second image, so that there is an index before the last one
    depot.crate("tag", depot.image, "other:1")
    depot.crate("untag", depot.image, "other:1")
    act(depot)
    if only_full:
        assert depot.check()["findings"] == []
    flags = ["--full"] if only_full else []
    found = depot.problems(*flags, status=1)
    assert any(what == kind and re.search(problem, text) for what, text in found), found
    assert depot.problems(*flags, status=1) == found, "a check changes nothing"
    before, requests = depot.snapshot(), len(depot.server.requests("/blobs/"))
    answer = depot.check("--repair", *flags)
    assert all(one["repaired"] for one in answer["findings"])
    assert len(depot.server.requests("/blobs/")) - requests == fetched
    touched = {path for path, state in depot.snapshot().items() if before.get(path, state) != state}
    assert len({Path(path).relative_to(depot.crate.root).parts[:4] for path in touched if "/layers/" not in path}) <= 2
    depot.is_whole()
    after = depot.snapshot()
    depot.check("--repair")
    assert depot.snapshot() == after, "a second repair does nothing"


def test_a_store_without_damage_is_left_as_it_is(depot: Depot) -> None:
    before = depot.snapshot()
    line = depot.crate.out("system", "check", "--full")
    assert re.fullmatch("1 image, 5 blobs, 2 layers, 0 containers: all is well", line)
    depot.check("--repair")
    assert {path: state for path, state in depot.snapshot().items() if "/locks/" not in path} == {
        path: state for path, state in before.items() if "/locks/" not in path
    }


def test_what_cannot_be_fetched_again_is_said_and_kept(depot: Depot) -> None:
    """The registry has forgotten the image: what is whole stays."""
    flip(depot.layer_blob())
    depot.server.documents.clear()
    answer = depot.check("--repair", "--full", status=1)
    (finding,) = answer["findings"]
    assert not finding["repaired"]
    assert "manifest unknown" in finding["failure"]
    assert depot.layer_blob().exists()
    assert len(depot.layers()) == 2
    assert depot.crate.out("images", "-q") != ""


def test_two_damages_are_repaired_together(depot: Depot) -> None:
    """The layer's blob is needed to unpack the layer again."""
    flip(depot.layer_blob())
    (depot.layer_of("bin/a") / "layer.json").unlink()
    depot.check(status=1)
    assert all(one["repaired"] for one in depot.check("--repair")["findings"])
    depot.is_whole()


def test_what_killed_commands_left_is_no_damage_and_is_collected(depot: Depot) -> None:
    depot.is_whole()
    root = depot.crate.root
    owner = depot.crate.account
    left = [root / "ingest" / name for name in ("ab.pull", "layer-sha256-ab.claim", "sha256-ab.part", "foreign")]
    left += [root / "trash/abcd", root / "oci/.index.json.ab.tmp", root / "oci/blobs/sha256" / ("0" * 64)]
    directories = [
        root / "ingest/layer-sha256-ab.cd.layer",
        root / "containers" / ("e" * 64),
        root / "layers/sha256" / ("1" * 64),
    ]
    for path in left:
        path.write_bytes(b"left")
    for path in directories:
        path.mkdir(parents=True)
    link = root / "names/gone"
    link.symlink_to("f" * 64)
    for path in [*left, *directories]:
        os.chown(path, owner.uid, owner.gid)
    os.lchown(link, owner.uid, owner.gid)
    found = depot.check()["findings"]
    assert all(not one["damage"] for one in found)
    assert len(found) == len(left) + len(directories) + 1
    assert "unfinished" in depot.crate.out("system", "check")
    assert all(one["repaired"] for one in depot.check("--repair")["findings"])
    assert not [path for path in [*left, *directories] if path.exists()]
    assert not link.is_symlink()
    depot.is_whole()


def test_the_names_of_an_index_that_is_damaged_come_back(depot: Depot) -> None:
    """From the part that can be read, and from the index before; an image that neither names is there without a name."""
    depot.server.image("late", "1", layers=LAYERS[:1], variant="x")
    for name in ("one:1", "two:1"):
        depot.crate("tag", depot.image, name)
    depot.crate("pull", "-q", f"{depot.server.host}/late:1")
    text = depot.index.read_bytes()
    depot.index.write_bytes(text[: text.index(b"two:1")])
    depot.check("--repair")
    names = set(depot.crate.out("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines())
    assert {depot.image, "one:1", "two:1"} <= names
    assert len(set(depot.crate.out("images", "-q", "--no-trunc").split())) == 2
    assert depot.check("--full")["findings"] == []
