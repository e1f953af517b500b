"""The store itself, read in place by other programs: to them it is an OCI image layout, whatever else is beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import Account


@pytest.fixture
def shelf(ourselves: Account, bin_directory: Path, base: Path, images: Any) -> Iterator[Crate]:
    """Two images, one of which was docker's, with an index that has been written several times."""
    host.need_root()
    crate = Crate(bin_directory / "crate", base / "shelf", ourselves)
    for name in (images.busybox, images.docker):
        crate("pull", "-q", name)
    crate("tag", images.busybox, "gone:1")
    crate("untag", images.busybox, "gone:1")
    yield crate
    crate.destroy()


def test_skopeo_inspects_and_copies_every_image(shelf: Crate, images: Any, base: Path) -> None:
    skopeo = host.program("skopeo")
    for number, name in enumerate((images.busybox, images.docker)):
        source = f"oci:{shelf.root}/oci:{name}"
        said = json.loads(shelf.account.run([skopeo, "inspect", source]).out)
        assert said["Architecture"] == shelf.inspect(name)["Architecture"]
        assert len(said["Layers"]) == len(shelf.inspect(name)["RootFS"]["Layers"])
        copy = shelf.directory / f"copy-{number}"
        shelf.account.run([skopeo, "--insecure-policy", "copy", "-q", source, f"dir:{copy}"])
        assert (copy / "manifest.json").stat().st_size > 0
    assert "all is well" in shelf.out("system", "check", "--full")


def test_umoci_unpacks_from_it(shelf: Crate, images: Any) -> None:
    bundle = shelf.directory / "bundle"
    listed = shelf.account.run([host.program("umoci"), "ls", "--layout", f"{shelf.root}/oci"]).out.split()
    assert {images.busybox, images.docker} <= set(listed)
    shelf.account.run([host.program("umoci"), "unpack", "--image", f"{shelf.root}/oci:{images.busybox}", str(bundle)])
    assert (bundle / "rootfs/bin/busybox").stat().st_size > 100_000
    assert "all is well" in shelf.out("system", "check", "--full")
