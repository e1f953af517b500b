"""What other users, and mounts, can do with a store: nothing is reached in it, and nothing is removed through it.

Each attack has its look-alike: the owner reaches what others do not, and what only looks like a mount is removed.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Images
from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import Account

STRANGER = 61234
"""A user without anything in common with those who have stores."""


@pytest.fixture
def crate(account: Account, bin_directory: Path, base: Path, images: Images) -> Iterator[Crate]:
    """A store in a directory that everybody may enter, with an image of two layers whose upper one has a setuid file."""
    store = Crate(bin_directory / "crate", base / f"attacked-{account.uid}", account)
    store.directory.chmod(0o755)
    store("pull", "-q", images.docker)
    script = "cp /bin/busybox /busybox && chmod 4755 /busybox && mkdir -p /place/mounted /place/other && ln -s /place /place/link"
    store("run", "--name", "made", images.docker, "sh", "-c", f"{script} && echo kept >/place/file")
    store("commit", "made", "attacked:1")
    yield store
    store.remove_containers()
    store.destroy()


def top_layer(crate: Crate) -> Path:
    (found,) = (path.parent for path in (crate.root / "layers").glob("*/*/fs/busybox"))
    return found


def as_stranger(*command: str) -> subprocess.CompletedProcess[str]:
    host.need_root()
    return subprocess.run(command, capture_output=True, text=True, user=STRANGER, group=STRANGER, extra_groups=[], check=False)


def directories(top: Path) -> Iterator[Path]:
    """Every directory of the store itself: what is in the trees of layers and containers belongs to images."""
    yield top
    for entry in os.scandir(top):
        if entry.is_dir(follow_symlinks=False) and entry.name not in ("fs", "upper", "work", "merged", "rootfs"):
            yield from directories(Path(entry.path))


def test_every_directory_of_a_store_is_closed_to_others(crate: Crate) -> None:
    found = [*directories(crate.root), *directories(crate.runroot)]
    names = {str(path.relative_to(crate.directory)) for path in found}
    assert {
        "store",
        "store/oci",
        "store/oci/blobs",
        "store/layers",
        "store/containers",
        "store/ingest",
        "store/trash",
        "run",
    } <= names
    assert {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in found if path.stat().st_mode & 0o077} == {}
    assert {path.stat().st_uid for path in found} == {crate.account.uid}


def test_another_user_reaches_nothing_in_a_store(crate: Crate) -> None:
    setuid = top_layer(crate) / "busybox"
    assert stat.S_IMODE(setuid.stat().st_mode) == 0o4755, "the layer has it as the image does"
    entered = as_stranger("stat", str(crate.directory))
    assert entered.returncode == 0, "the way to the store is open"
    for path in (
        setuid,
        setuid.parent,
        setuid.parent.parent,
        crate.root / "oci",
        crate.root / "oci/index.json",
        crate.runroot / "containers",
    ):
        denied = as_stranger("stat", str(path))
        assert (denied.returncode, "Permission denied" in denied.stderr) == (1, True), denied
    with pytest.raises(PermissionError):
        as_stranger(str(setuid), "id")


def test_the_owner_of_a_store_and_its_containers_reach_what_others_do_not(crate: Crate) -> None:
    assert crate.out("run", "--rm", "attacked:1", "stat", "-c", "%a %u", "/busybox") == "4755 0"
    crate("run", "--rm", "-u", "1000", "attacked:1", "/busybox", "true")
    crate.account.run(["stat", str(crate.root / "oci/index.json")], status=0)


@pytest.fixture
def canary(base: Path) -> Iterator[Path]:
    path = base / "canary"
    (path / "deep").mkdir(parents=True)
    (path / "deep/file").write_text("alive")
    yield path
    assert (path / "deep/file").read_text() == "alive"
    (path / "deep/file").unlink()
    (path / "deep").rmdir()
    path.rmdir()


def while_mounted(crate: Crate, source: Path, target: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`crate WORDS` in a mount namespace of its own in which `source` is mounted on `target`; only root can make one."""
    host.need_root()
    script = 'mount --make-rprivate / && mount --bind "$1" "$2" && shift 2 && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", script, "sh", str(source), str(target), *crate.command(*words)]
    environment = crate.account.environment({"CRATE_CONFIG": "/dev/null"})
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("account", ["root"], indirect=True)
@pytest.mark.parametrize("place", ["place/mounted", "place", "busybox", "."])
def test_an_image_is_removed_up_to_a_mount_in_a_layer(crate: Crate, canary: Path, place: str) -> None:
    crate("rm", "made")
    target = top_layer(crate) / place
    source = canary if target.is_dir() else canary / "deep/file"
    failed = while_mounted(crate, source, target, "rmi", "attacked:1")
    assert failed.returncode == 1
    named = re.search(r"remove (/\S+): something is mounted there", failed.stderr)
    assert named and named[1].endswith(f"fs/{place}".removesuffix("/.")), failed.stderr
    assert (canary / "deep/file").read_text() == "alive"
    assert "attacked" not in crate.out("images"), "what is mounted there keeps no name"
    crate("system", "prune", "-f")
    assert list((crate.root / "trash").iterdir()) == [], "without the mount the rest goes"


@pytest.mark.parametrize("account", ["root"], indirect=True)
def test_a_layer_that_is_mounted_over_as_a_whole_stays(crate: Crate, canary: Path) -> None:
    crate("rm", "made")
    layer = top_layer(crate).parent
    failed = while_mounted(crate, canary, layer, "rmi", "attacked:1")
    assert failed.returncode == 1 and f"remove {layer}: something is mounted there" in failed.stderr
    assert "Traceback" not in failed.stderr
    crate("system", "prune", "-f")
    assert not layer.exists()


@pytest.mark.parametrize("account", ["root"], indirect=True)
@pytest.mark.parametrize("place", ["upper/place/mounted", "upper/busybox"])
def test_a_container_is_removed_up_to_a_mount_in_its_directory(crate: Crate, canary: Path, place: str) -> None:
    identity = crate.out("ps", "-aq", "--no-trunc")
    (target,) = (crate.root / "containers" / identity).glob(f"**/{place}")
    source = canary if target.is_dir() else canary / "deep/file"
    failed = while_mounted(crate, source, target, "rm", "made")
    assert failed.returncode == 1
    assert re.search(rf"remove /\S+/{place}: something is mounted there", failed.stderr), failed.stderr
    assert (canary / "deep/file").read_text() == "alive"
    crate("system", "prune", "-f")
    assert list((crate.root / "trash").iterdir()) == []


def test_links_to_a_canary_are_removed_and_the_canary_stays(crate: Crate, canary: Path) -> None:
    canary.chmod(0o755)
    crate("run", "--name", "linking", "attacked:1", "ln", "-s", str(canary), str(canary / "deep/file"), "/place/other")
    crate("rm", "made", "linking")
    crate("rmi", "attacked:1")
    assert list((crate.root / "trash").iterdir()) == [] and list((crate.root / "containers").iterdir()) == []
