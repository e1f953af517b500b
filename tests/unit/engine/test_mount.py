"""crate_engine.system.mount: overlays in a private mount namespace inside a user namespace."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_engine.errors import HostError
from crate_engine.system import mount, process, userns
from crate_engine.system.userns import UserNamespace


def overlay_listing(base: Path, layers: int) -> object:
    lower = []
    for number in range(layers):
        directory = base / f"layer:{number},of\\all with blanks" / ("x" * 60)
        directory.mkdir(parents=True)
        (directory / f"file{number}").write_text("")
        (directory / "same").write_text(str(number))
        lower.append(str(directory))
    for name in ("up:per", "work,dir", "merged"):
        (base / name).mkdir()

    def look() -> list[str]:
        process.unshare(process.CLONE_NEWNS)
        mount.make_private()
        mount.overlay(lower, str(base / "up:per"), str(base / "work,dir"), str(base / "merged"), user_xattr=True)
        assert os.statvfs(base / "merged").f_flag & os.ST_NODEV
        return [*sorted(os.listdir(base / "merged")), (base / "merged" / "same").read_text()]

    namespace = UserNamespace("single", ((0, os.geteuid(), 1),), ((0, os.getegid(), 1),))
    try:
        return userns.run(namespace, look)
    except HostError as error:
        pytest.skip(f"user namespaces: {error}")


@pytest.mark.parametrize("layers", [1, 3, 60])
def test_overlay_stacks_layers_whatever_their_paths_and_number(tmp_path: Path, layers: int) -> None:
    listing = overlay_listing(tmp_path, layers)
    assert listing == [*sorted([f"file{number}" for number in range(layers)] + ["same"]), str(layers - 1)]
    assert not os.listdir(tmp_path / "merged"), "the mount stayed in its own mount namespace"


def test_mount_error_names_the_target(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        mount.mount("none", str(tmp_path / "absent"), "tmpfs")
    assert caught.value.filename == str(tmp_path / "absent")
