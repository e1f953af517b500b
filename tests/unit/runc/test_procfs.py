"""Writing to files of procfs: what is reached, and that nothing else can be."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_runc.kernel import procfs


@pytest.fixture
def root() -> Iterator[int]:
    fd = procfs.open_mounted("/proc")
    yield fd
    os.close(fd)


def read(root: int, path: str) -> bytes:
    fd = procfs.open_file(root, path, os.O_RDONLY)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


@pytest.mark.parametrize("walk", [False, True], ids=["openat2", "walk"])
def test_a_file_of_the_process_is_read_and_written(root: int, walk: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if walk:
        monkeypatch.setattr(procfs, "open_file", procfs._walk)
    assert read(root, "self/stat").startswith(b"%d " % os.getpid())
    assert b"(" in read(root, "thread-self/stat")
    before = read(root, "self/coredump_filter")
    procfs.write(root, "self/coredump_filter", b"0x" + before.strip())
    assert read(root, "self/coredump_filter") == before


@pytest.mark.parametrize("walk", [False, True], ids=["openat2", "walk"])
@pytest.mark.parametrize(
    "path", ["self/root/proc/version", "self/cwd/x", "../etc/passwd", "self/../../etc/passwd", "self/exe", "/etc/passwd"]
)
def test_no_link_of_the_kernel_and_no_dots_lead_elsewhere(root: int, path: str, walk: bool) -> None:
    with pytest.raises(OSError) as caught:
        (procfs._walk if walk else procfs.open_file)(root, path, os.O_RDONLY)
    assert caught.value.errno in (errno.ELOOP, errno.EXDEV, errno.ENOENT, errno.ENOTDIR)


@pytest.mark.parametrize("path", ["/", "/proc/self", "/sys"])
def test_what_is_no_procfs_or_only_a_part_of_one_is_refused(path: str) -> None:
    with pytest.raises(OSError) as caught:
        procfs.open_mounted(path)
    assert caught.value.errno in (errno.EINVAL, errno.ELOOP, errno.ENOTDIR)


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    with pytest.raises(OSError) as caught:
        procfs.open_mounted(str(tmp_path / "proc"))
    assert caught.value.errno in (errno.ELOOP, errno.ENOTDIR)


def test_one_is_found_with_any_rights() -> None:
    fd = procfs.open_root()
    try:
        assert read(fd, "self/stat").startswith(b"%d " % os.getpid())
    finally:
        os.close(fd)
