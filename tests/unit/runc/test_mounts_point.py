"""Where a mount may go, and what is made for it. No mount is made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_runc.errors import StepError
from crate_runc.mounts import point as mount_point
from crate_runc.process import channel
from crate_runc.steps.step import ChildContext


@pytest.fixture
def child(tmp_path: Path) -> Iterator[ChildContext]:
    ours, theirs = channel.pair()
    theirs.close()
    root = tmp_path / "root"
    (root / "proc/sys").mkdir(parents=True)
    context = ChildContext({}, str(tmp_path), str(root), ours, {})
    context.root = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield context
    os.close(context.root)
    ours.close()


def _open(child: ChildContext, destination: str, *, is_directory: bool = True) -> str:
    fd = mount_point.open_target(child, destination, is_directory=is_directory)
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(child.rootfs)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("destination", "is_directory", "place"),
    [
        ("/a/b", True, "/a/b"),
        ("/a/b/file", False, "/a/b/file"),
        ("relative/x", True, "/relative/x"),
        ("//a/../c//d/", True, "/c/d"),
        ("/../../up", True, "/up"),
        ("/proc", True, "/proc"),
        ("/proc/", True, "/proc"),
        ("/sys", True, "/sys"),
        ("/proc/meminfo", False, "/proc/meminfo"),
        ("/proc/sys/kernel/ns_last_pid", False, "/proc/sys/kernel/ns_last_pid"),
        ("/processes", True, "/processes"),
    ],
)
def test_what_is_missing_is_made(child: ChildContext, destination: str, is_directory: bool, place: str) -> None:
    (Path(child.rootfs) / "a").mkdir()
    assert _open(child, destination, is_directory=is_directory) == place
    assert (Path(child.rootfs) / place[1:]).is_dir() is is_directory


@pytest.mark.parametrize(
    "destination", ["/proc/sys", "//proc/sys", "proc/sys", "/x/../proc/self/attr", "/proc/./fs", "/proc/kcore"]
)
def test_nothing_is_mounted_below_proc(child: ChildContext, destination: str) -> None:
    with pytest.raises(StepError, match="cannot be mounted because it is inside /proc"):
        _open(child, destination)


@pytest.mark.parametrize("target", ["/proc", "../proc", "proc/../proc"])
def test_a_link_to_proc_does_not_change_that(child: ChildContext, target: str) -> None:
    (Path(child.rootfs) / "link").symlink_to(target)
    with pytest.raises(StepError, match='"/proc/sys" cannot be mounted because it is inside /proc'):
        _open(child, "/link/sys")
    with pytest.raises(StepError, match='"/proc/new" cannot be mounted because it is inside /proc'):
        _open(child, "/link/new", is_directory=False)


def test_links_elsewhere_are_followed_inside(child: ChildContext, tmp_path: Path) -> None:
    (Path(child.rootfs) / "link").symlink_to("../../../over/there")
    assert _open(child, "/link/x") == "/over/there/x"
    assert not (tmp_path / "over").exists()


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/etc", "proc", "/nowhere"])
def test_proc_and_sys_may_not_be_links(child: ChildContext, name: str, target: str) -> None:
    place = Path(child.rootfs) / name
    if place.exists():
        place.rename(Path(child.rootfs) / "old")
    place.symlink_to(target)
    with pytest.raises(StepError, match=f"mount on /{name}: must be a directory"):
        _open(child, f"/{name}")


@pytest.mark.parametrize("destination", ["/", "//", "/.", "/x/.."])
def test_the_root_is_no_destination(child: ChildContext, destination: str) -> None:
    with pytest.raises(StepError, match="the root itself"):
        _open(child, destination)


def test_a_name_in_an_open_directory_is_checked_where_it_is(child: ChildContext) -> None:
    directory = os.open(Path(child.rootfs) / "proc/sys", os.O_PATH)
    try:
        with pytest.raises(StepError, match='"/proc/sys/kernel" cannot be mounted'):
            mount_point.check_name(child.root, directory, "kernel")
        mount_point.check_name(child.root, child.root, "etc")
        with pytest.raises(StepError, match="must be a directory"):
            mount_point.check_name(child.root, child.root, "proc")
    finally:
        os.close(directory)
