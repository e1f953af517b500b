"""Tar archives written: what `entries` reads back is what was written, GNU tar and Python read the same, and the bytes depend on nothing else."""

from __future__ import annotations

import io
import tarfile

import pytest

from crate_engine.layers import entries, tarwriter
from crate_engine.layers.entries import Action, Entry
from crate_engine.layers.tar_fields import padding


def entry(action: Action = Action.FILE, path: bytes = b"a", **changes: object) -> Entry:
    made = Entry(action, path, b"", 0o644, 0, 0, 0, 0, (0, 0), {})
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class Stream:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def take(self, count: int) -> bytes:
        return self._file.read(count)


def written(*made: Entry) -> bytes:
    return b"".join(tarwriter.member(one) + bytes(one.size + padding(one.size)) for one in made) + tarwriter.END


def read_back(content: bytes) -> list[Entry]:
    stream = Stream(content)
    found = []
    for one in entries.read(stream):
        found.append(one)
        stream.take(one.size + padding(one.size))
    return found


CASES = {
    "file": entry(size=700),
    "directory": entry(Action.DIRECTORY, b"d/e", mode=0o1777),
    "the root": entry(Action.DIRECTORY, b""),
    "symbolic link": entry(Action.SYMLINK, link=b"../b c", mode=0o777),
    "hard link": entry(Action.HARD_LINK, b"z", link=b"a/b"),
    "device": entry(Action.CHARACTER_DEVICE, device=(1, 3)),
    "large device": entry(Action.BLOCK_DEVICE, device=(4095, 1048575)),
    "fifo": entry(Action.FIFO),
    "set-id bits": entry(mode=0o6755),
    "a name of 100 bytes": entry(path=b"n" * 100),
    "a name of 101 bytes": entry(path=b"n" * 101),
    "a name for two fields": entry(path=b"d" * 90 + b"/" + b"n" * 90),
    "a long directory": entry(Action.DIRECTORY, b"d" * 99 + b"/" + b"n" * 99),
    "a name for no fields": entry(path=b"d" * 200 + b"/" + b"n" * 200),
    "many directories": entry(path=b"/".join([b"deep"] * 300)),
    "a name that is no text": entry(path=b"\xff\xfe\n="),
    "a long link": entry(Action.SYMLINK, link=b"x" * 3000, mode=0o777),
    "a long hard link": entry(Action.HARD_LINK, link=b"x" * 200),
    "large ids": entry(uid=2**32 - 2, gid=2**21),
    "nanoseconds": entry(mtime_ns=1_700_000_000_123_456_789),
    "before 1970": entry(mtime_ns=-1),
    "seconds before 1970": entry(mtime_ns=-5_000_000_000),
    "far from now": entry(mtime_ns=9_000_000_000 * 10**9),
    "attributes": entry(xattrs={"user.a": b"\0\n=\xff", "security.capability": b"\x02" * 20, "user.\udcff": b"x"}),
}


@pytest.mark.parametrize("made", CASES.values(), ids=CASES)
def test_what_is_written_is_read_back(made: Entry) -> None:
    assert read_back(written(made)) == [made]


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (entry(Action.WHITEOUT, b"d/gone"), "d/.wh.gone"),
        (entry(Action.WHITEOUT, b"gone"), ".wh.gone"),
        (entry(Action.OPAQUE, b"d"), "d/.wh..wh..opq"),
    ],
)
def test_whiteouts_are_empty_files_by_their_names(made: Entry, name: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(written(made))) as archive:
        (member,) = archive.getmembers()
    assert (member.name, member.size, member.isreg()) == (name, 0, True)
    assert [(one.action, one.path) for one in read_back(written(made))] == [(made.action, made.path)]


def test_a_file_beyond_eight_gibibytes_has_its_size_in_a_record() -> None:
    (header,) = entries.read(Stream(tarwriter.member(entry(size=9 << 30)) + bytes(1024)))
    assert header.size == 9 << 30


def test_python_reads_every_case() -> None:
    made = [one for name, one in CASES.items() if name not in ("the root", "a name that is no text")]
    with tarfile.open(fileobj=io.BytesIO(written(*made)), errors="surrogateescape") as archive:
        members = archive.getmembers()
    assert [member.name.encode() for member in members] == [one.path for one in made]
    assert [member.linkname.encode() for member in members] == [one.link for one in made]
    assert [(member.uid, member.gid, member.mode) for member in members] == [(one.uid, one.gid, one.mode) for one in made]
    assert [member.size for member in members if member.isreg()] == [one.size for one in made if one.action is Action.FILE]


def test_a_plain_entry_takes_one_block() -> None:
    assert len(tarwriter.member(entry(mtime_ns=1_700_000_000 * 10**9))) == 512


def test_every_header_is_whole_blocks() -> None:
    assert all(len(tarwriter.member(made)) % 512 == 0 for made in CASES.values())


@pytest.mark.parametrize("length", [*range(80, 110), *range(980, 1010)])
def test_records_count_their_own_digits(length: int) -> None:
    made = entry(Action.SYMLINK, link=b"x" * (length + 101), mode=0o777)
    assert read_back(written(made)) == [made]
