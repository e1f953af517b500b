from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_runc.kernel import path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "a/b/file").write_text("inside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/file").write_text("outside")
    (root / "up").symlink_to("../../../../../../../../outside")
    (root / "absolute").symlink_to("/a/b")
    (root / "escape").symlink_to(str(tmp_path / "outside"))
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("/later/place")
    (root / "a/relative").symlink_to("../a/new")
    return root


@pytest.fixture
def root(tree: Path) -> Iterator[int]:
    fd = os.open(tree, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=["openat2", "walk"])
def resolver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "walk":

        def no_system_call(name: str, *_: object, path: str | None = None) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)

        monkeypatch.setattr(path, "syscall", no_system_call)
    return str(request.param)


def _read(fd: int) -> str:
    with open(fd) as file:
        return file.read()


@pytest.mark.parametrize("name", ["a/b/file", "/a/b/file", "absolute/file", "../../a/b/file", "a/./b/../b/file"])
def test_names_lead_to_places_inside(resolver: str, root: int, name: str) -> None:
    assert _read(path.open_in_root(root, name, os.O_RDONLY)) == "inside"


@pytest.mark.parametrize("name", ["up/file", "escape/file", "../outside/file"])
def test_names_do_not_lead_outside(resolver: str, root: int, name: str) -> None:
    with pytest.raises(FileNotFoundError):
        path.open_in_root(root, name, os.O_RDONLY)


def test_a_loop_of_links_is_an_error(resolver: str, root: int) -> None:
    with pytest.raises(OSError) as caught:
        path.open_in_root(root, "loop/x")
    assert caught.value.errno == errno.ELOOP


def test_links_of_proc_are_not_followed(root: int) -> None:
    proc = os.open("/proc", os.O_PATH)
    with pytest.raises(OSError) as caught:
        path.open_in_root(proc, f"self/fd/{root}/a")
    os.close(proc)
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("new/deep/er", "new/deep/er"),
        ("absolute/c", "a/b/c"),
        ("dangling/x", "later/place/x"),
        ("a/relative/y", "a/new/y"),
        ("a/../../../z", "z"),
        ("up/x", "outside/x"),
    ],
)
def test_missing_directories_are_made_inside(resolver: str, root: int, tree: Path, name: str, made: str) -> None:
    fd = path.make_directory_in_root(root, name)
    assert os.path.samestat(os.fstat(fd), os.stat(tree / made))
    os.close(fd)
    assert sorted(os.listdir(tree.parent / "outside")) == ["file"]


def test_a_directory_cannot_be_made_below_a_file(resolver: str, root: int) -> None:
    with pytest.raises(OSError) as caught:
        path.make_directory_in_root(root, "a/b/file/x")
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST, errno.EINVAL)


def test_a_file_is_made_empty_and_kept_when_it_is_there(resolver: str, root: int, tree: Path) -> None:
    os.close(path.make_file_in_root(root, "p/q/target"))
    assert (tree / "p/q/target").read_bytes() == b""
    os.close(path.make_file_in_root(root, "a/b/file"))
    assert (tree / "a/b/file").read_text() == "inside"


@pytest.mark.parametrize(
    ("target", "made"),
    [
        ("/run/there", "run/there"),
        ("../run/there", "run/there"),
        ("../../../../../out", "out"),
        ("beside", "a/beside"),
        ("again", "a/last"),
    ],
)
def test_a_file_is_made_where_a_dangling_link_points_inside_the_root(
    resolver: str, root: int, tree: Path, target: str, made: str
) -> None:
    (tree / "a/dangling").symlink_to(target)
    (tree / "a/again").symlink_to("last")
    os.close(path.make_file_in_root(root, "a/dangling"))
    assert (tree / made).read_bytes() == b""
    assert not (tree.parent / "out").exists()


def test_a_file_is_not_made_through_a_circle_of_links(resolver: str, root: int, tree: Path) -> None:
    (tree / "a/one").symlink_to("two")
    (tree / "a/two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        path.make_file_in_root(root, "a/one")


def test_a_small_file_is_read(root: int) -> None:
    assert path.read_small_file_in_root(root, "a/b/file", 100) == b"inside"


@pytest.mark.parametrize("kind", ["fifo", "directory", "long", "missing", "outside"])
def test_what_is_no_small_file_is_not_read(root: int, tree: Path, kind: str) -> None:
    os.mkfifo(tree / "fifo")
    (tree / "directory").mkdir()
    (tree / "long").write_bytes(bytes(101))
    (tree / "outside").symlink_to(tree.parent / "outside/file")
    assert path.read_small_file_in_root(root, kind, 100) is None


@pytest.mark.parametrize("name", ["absolute/file", "absolute", "a/../absolute", "a/relative"])
def test_without_links_one_is_an_error(root: int, resolver: str, name: str) -> None:
    with pytest.raises(OSError) as caught:
        path.open_in_root(root, name, links=False)
    assert caught.value.errno == errno.ELOOP
    os.close(path.open_in_root(root, "/a/./b/file", links=False))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_a_filter_that_does_not_know_openat2_is_no_obstacle(root: int, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(name: str, *_: object, path: str | None = None) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(path, "syscall", refuse)
    os.close(path.open_in_root(root, "absolute/file"))


def test_a_file_that_is_denied_stays_so(root: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same error, from a kernel that knows the call."""

    def deny(name: str, *arguments: object, path: str | None = None) -> int:
        number = errno.EINVAL if arguments[0] == -1 else errno.EPERM
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(path, "syscall", deny)
    with pytest.raises(PermissionError):
        path.open_in_root(root, "absolute/file")
