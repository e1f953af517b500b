"""Files with holes: the maps of every form that GNU tar has written, and maps that are wrong."""

from __future__ import annotations

import io

import pytest

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers import entries
from crate_engine.layers.entries import Entry
from crate_engine.layers.sparse import Sparse
from tests.support.tars import END, header, member, octal, old_sparse, padded, records, summed

PIECES = [(0, 3), (5000, 2)]
NAME = ("GNU.sparse.name", b"real")
IN_0_0 = [
    ("GNU.sparse.offset", b"0"),
    ("GNU.sparse.numbytes", b"3"),
    ("GNU.sparse.offset", b"5000"),
    ("GNU.sparse.numbytes", b"2"),
]
IN_1_0 = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), NAME, ("GNU.sparse.realsize", b"9000")]
COUNT = ("GNU.sparse.numblocks", b"2")
SIZE = ("GNU.sparse.size", b"9000")


class Stream:
    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def take(self, count: int) -> bytes:
        return self._file.read(count)


def read(content: bytes) -> list[tuple[Entry, bytes]]:
    stream = Stream(content)
    return [(entry, stream.take(entry.size + entries.padding(entry.size))[: entry.size]) for entry in entries.read(stream)]


FORMS = {
    "0.0": records(SIZE, COUNT, *IN_0_0) + member(b"real", b"abcde"),
    "0.1": records(SIZE, COUNT, NAME, ("GNU.sparse.map", b"0,3,5000,2")) + member(b"GNUSparseFile.1/x", b"abcde"),
    "0.1 with its version": records(
        ("GNU.sparse.major", b"0"), ("GNU.sparse.minor", b"1"), SIZE, COUNT, NAME, ("GNU.sparse.map", b"0,3,5000,2")
    )
    + member(b"x", b"abcde"),
    "1.0": records(*IN_1_0) + member(b"GNUSparseFile.1/x", padded(b"2\n0\n3\n5000\n2\n") + b"abcde"),
    "old": old_sparse(b"real", 9000, [(0, b"abc"), (5000, b"de")]),
}  # fmt: skip


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS.keys())
def test_every_form_tells_where_the_pieces_belong(content: bytes) -> None:
    (entry, stored), (following, _) = read(content + member(b"next") + END)
    assert (entry.path, entry.sparse, stored) == (b"real", Sparse(9000, PIECES), b"abcde")
    assert (following.path, following.sparse) == (b"next", None)


@pytest.mark.parametrize("count", [0, 1, 4, 5, 25, 26, 200])
def test_old_maps_go_on_in_blocks_behind_the_header(count: int) -> None:
    pieces = [(number * 1000, b"%03d" % number) for number in range(count)]
    ((entry, stored),) = read(old_sparse(b"f", 1_000_000, pieces) + END)
    assert entry.sparse == Sparse(1_000_000, [(offset, 3) for offset, _ in pieces])
    assert stored == b"".join(content for _, content in pieces)


@pytest.mark.parametrize("count", [0, 100, 3000])
def test_maps_before_the_content_may_take_several_blocks(count: int) -> None:
    lines = b"%d\n" % count + b"".join(b"%d\n1\n" % (number * 1000) for number in range(count))
    fields = [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), NAME, ("GNU.sparse.realsize", b"9000000")]
    ((entry, stored),) = read(records(*fields) + member(b"x", padded(lines) + b"y" * count) + END)
    assert entry.sparse is not None
    assert (len(entry.sparse.pieces), stored) == (count, b"y" * count)


def test_a_hole_at_the_end_is_marked_by_an_empty_piece() -> None:
    ((entry, _),) = read(old_sparse(b"f", 9000, [(0, b"abc"), (9000, b"")]) + END)
    assert entry.sparse == Sparse(9000, [(0, 3), (9000, 0)])


def of_map(text: bytes, stored: bytes = b"abcde", size: bytes = b"9000", count: bytes = b"2") -> bytes:
    fields = [("GNU.sparse.size", size), ("GNU.sparse.numblocks", count), ("GNU.sparse.map", text)]
    return records(*fields) + member(b"x", stored)


def of_lines(lines: bytes) -> bytes:
    return records(*IN_1_0) + member(b"x", lines)


WRONG = {
    "pieces overlap": of_map(b"0,3,2,2"),
    "pieces go backwards": of_map(b"5000,3,0,2"),
    "beyond the end": of_map(b"0,3,8999,2"),
    "more than is stored": of_map(b"0,3,5000,9"),
    "less than is stored": of_map(b"0,3,5000,1"),
    "half a piece": of_map(b"0,3,5000"),
    "wrong count": of_map(b"0,3,5000,2", count=b"3"),
    "negative offset": of_map(b"-1,3,5000,2"),
    "negative length": of_map(b"0,-3,5000,8"),
    "no numbers": of_map(b"a,b,c,d"),
    "empty numbers": of_map(b",,,"),
    "huge numbers": of_map(b"0,3,99999999999999999999999,2"),
    "size missing": records(COUNT, ("GNU.sparse.map", b"0,3,5000,2")) + member(b"x", b"abcde"),
    "size too large": of_map(b"0,3,5000,2", size=b"%d" % limits.LAYER_BYTES),
    "size negative": of_map(b"0,3,5000,2", size=b"-1"),
    "length first": records(SIZE, COUNT, IN_0_0[1], IN_0_0[0]) + member(b"x", b"abc"),
    "two offsets": records(SIZE, COUNT, IN_0_0[0], IN_0_0[0]) + member(b"x", b"abc"),
    "a comma in a number": records(SIZE, COUNT, ("GNU.sparse.offset", b"0,3"), IN_0_0[1]) + member(b"x", b"abc"),
    "version 2.0": records(("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0"), SIZE) + member(b"x"),
    "version 0.7": records(("GNU.sparse.major", b"0"), ("GNU.sparse.minor", b"7"), SIZE) + member(b"x"),
    "lines end early": of_lines(padded(b"2\n0\n3\n")),
    "lines are not there": of_lines(b""),
    "line of letters": of_lines(padded(b"2\n0\nx\n5000\n2\n")),
    "line without end": of_lines(b"1" * 2000),
    "more lines than fit": of_lines(padded(b"99999999\n0\n3\n")),
    "sign in the count": of_lines(padded(b"-1\n0\n3\n")),
    "old, of another format": summed(old_sparse(b"f", 9, [(0, b"abc")])[:257] + b"ustar\x0000" + old_sparse(b"f", 9, [(0, b"abc")])[265:512]),
    "old, block missing": old_sparse(b"f", 9000, [(n * 100, b"x") for n in range(30)])[:512],
    "old, size too small": old_sparse(b"f", 4, [(0, b"abc"), (5000, b"de")]),
    "old, negative size": summed(header(b"f", b"S", magic=b"ustar  \0")[:483] + b"\xff" * 12 + bytes(17)),
}  # fmt: skip


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG.keys())
def test_wrong_maps_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(LayerError) as failure:
        read(content + END)
    assert "\n" not in str(failure.value)


def test_the_length_of_a_map_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEADER_BYTES", 4 * 512)
    pieces = [(number * 100, b"x") for number in range(4 + 4 * 21)]
    assert len(read(old_sparse(b"f", 1_000_000, pieces) + END)) == 1
    with pytest.raises(LayerError, match="too long"):
        read(old_sparse(b"f", 1_000_000, [*pieces, (99_000, b"x")]) + END)


def test_files_with_holes_count_with_their_whole_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """They cost nothing on disk, but whatever copies or packs them reads zeros without end."""
    monkeypatch.setattr(limits, "LAYER_BYTES", 27_001)
    assert len(read(FORMS["0.1"] * 3 + END)) == 3
    with pytest.raises(LayerError, match="holes"):
        read(FORMS["0.1"] * 4 + END)


def test_a_map_behind_a_whiteout_or_of_no_file_shifts_nothing() -> None:
    content = old_sparse(b".wh.gone", 9000, [(n * 100, b"x") for n in range(30)]) + member(b"next", size=octal(0)) + END
    assert [entry.path for entry, _ in read(content)] == [b"gone", b"next"]
