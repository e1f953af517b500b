"""What a repair can do without a store: entries of a damaged index, and trees that differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from crate_engine.oci import layout
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.media_types import OCI_MANIFEST
from crate_engine.upkeep.salvage import readable
from crate_engine.upkeep.trees import difference

ENTRIES = tuple(
    Descriptor(OCI_MANIFEST, Digest.of(name), 7, {layout.REFERENCE_NAME: name.decode()}) for name in (b"a", b"b", b"c")
)
INDEX = layout.dump_index(ENTRIES)


def test_an_index_cut_anywhere_gives_the_entries_before_the_cut() -> None:
    assert tuple(readable(INDEX)) == ENTRIES
    counts = [len(list(readable(INDEX[:length]))) for length in range(len(INDEX))]
    assert counts == sorted(counts)
    assert set(counts) == {0, 1, 2, 3}
    half = INDEX[: len(INDEX) // 2]
    assert list(readable(half + bytes(len(INDEX) - len(half)))) == list(readable(half))


@pytest.mark.parametrize("raw", [b"", b"[", b'{"manifests"', b'{"manifests":[{', b"\xff" * 100, b'{"manifests":[{"digest":1}]}'])
def test_what_has_no_entries_gives_none(raw: bytes) -> None:
    assert list(readable(raw)) == []


def _tree(path: Path) -> Path:
    (path / "d/deep").mkdir(parents=True)
    (path / "d/file").write_bytes(b"content")
    (path / "link").symlink_to("d/file")
    os.utime(path / "d/file", ns=(1, 1))
    os.utime(path / "link", ns=(1, 1), follow_symlinks=False)
    return path


def _relink(path: Path) -> None:
    (path / "link").unlink()
    (path / "link").symlink_to("d/elsf")
    os.utime(path / "link", ns=(1, 1), follow_symlinks=False)


def _rewrite(path: Path) -> None:
    (path / "d/file").write_bytes(b"Content")
    os.utime(path / "d/file", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: None, ""),
        (lambda path: os.utime(path / "d", ns=(5, 5)), ""),
        (_rewrite, "/d/file: its content"),
        (_relink, "/link: it leads"),
        (lambda path: os.utime(path / "d/file", ns=(2, 2)), "/d/file: its time"),
        (lambda path: (path / "d/file").chmod(0o600), "/d/file: its mode"),
        (lambda path: (path / "d/deep").rmdir(), "/d/deep is missing"),
        (lambda path: (path / "d/deep/new").touch(), "/d/deep/new is not of the layer"),
    ],
)
def test_the_first_difference_of_two_trees(tmp_path: Path, change: Callable[[Path], object], said: str) -> None:
    here, wanted = _tree(tmp_path / "here"), _tree(tmp_path / "wanted")
    change(here)
    found = difference(str(here), str(wanted))
    assert found.startswith(said) and bool(found) == bool(said)
