"""Files with holes in tar archives: GNU tar's old form and the three of its pax records (GNU tar manual, *Storing Sparse Files*).

Pure: it reads maps from headers, records and the given stream, and checks them. Who writes the file is told where its pieces belong.
"""

from __future__ import annotations

from dataclasses import dataclass

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers.tar_fields import BLOCK, decimal, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Stream(Protocol):
        def take(self, count: int) -> bytes: ...


_PREFIX = "GNU.sparse."
_MAP = _PREFIX + "map"
_PIECE = 24  # bytes of one (offset, length) in old headers
_IN_HEADER, _IN_EXTENSION = 4, 21
_LONGEST_NUMBER = 20


@dataclass(frozen=True, slots=True)
class Sparse:
    """`pieces` are (offset, length) in ascending order, what is stored of a file of `size` bytes; all else is zeros."""

    size: int
    pieces: list[tuple[int, int]]


def fold(records: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """Records as a dictionary, the last of each key. Those of version 0.0, one a number, become the one map of version 0.1.

    A record without a value means that there is none (pax(1)): it is left out.
    """
    numbers: list[bytes] = []
    folded: dict[str, bytes] = {}
    for key, value in records:
        if key in (_PREFIX + "offset", _PREFIX + "numbytes"):
            if (key == _PREFIX + "offset") != (len(numbers) % 2 == 0) or b"," in value:
                raise LayerError("read layer: the map of a sparse file is out of order")
            numbers.append(value)
        elif value:
            folded[key] = value
        else:
            folded.pop(key, None)
    if numbers:
        folded[_MAP] = b",".join(numbers)
    return folded


def of_old_header(header: bytes, stream: Stream) -> Sparse:
    """Of a header of type S; what of its map does not fit follows it in blocks, which are taken from the stream."""
    if header[257:265] != b"ustar  \0":
        raise LayerError("read layer: a sparse file of GNU tar's type has a header of another format")
    numbers = _numbers(header[386 : 386 + _IN_HEADER * _PIECE])
    more, blocks = header[482], 0
    while more:
        blocks += 1
        extension = stream.take(BLOCK)
        if len(extension) < BLOCK or blocks * BLOCK > limits.HEADER_BYTES:
            raise LayerError("read layer: the map of a sparse file is cut short, or too long")
        numbers += _numbers(extension[: _IN_EXTENSION * _PIECE])
        more = extension[504]
    return _checked(number(header[483:495]), numbers)


def of_records(records: dict[str, bytes], stored: int, stream: Stream) -> tuple[Sparse, int] | None:
    """The sparse file that pax records tell of, and how many of the member's `stored` bytes are left after its map; None: it is not sparse."""
    if not any(key.startswith(_PREFIX) for key in records):
        return None
    version = records.get(_PREFIX + "major", b"0"), records.get(_PREFIX + "minor", b"1")
    if version == (b"1", b"0"):
        size = decimal(records.get(_PREFIX + "realsize", b""), _PREFIX + "realsize")
        numbers, used = _leading_map(stored, stream)
        return _checked(size, numbers), stored - used
    if version not in ((b"0", b"0"), (b"0", b"1")):
        raise LayerError(f"read layer: sparse files of version {b'.'.join(version)[:20]!r} are unknown")
    size = decimal(records.get(_PREFIX + "size") or records.get(_PREFIX + "realsize", b""), _PREFIX + "size")
    numbers = [decimal(digits, _MAP) for digits in records[_MAP].split(b",")] if _MAP in records else []
    count = records.get(_PREFIX + "numblocks")
    if count is not None and decimal(count, _PREFIX + "numblocks") * 2 != len(numbers):
        raise LayerError("read layer: the map of a sparse file is not as long as it says")
    return _checked(size, numbers), stored


def name_of(records: dict[str, bytes]) -> bytes | None:
    """Since version 0.1 the header has a name for programs that do not know sparse files."""
    return records.get(_PREFIX + "name")


def _numbers(pieces: bytes) -> list[int]:
    """Up to the first piece that is not there."""
    numbers = []
    for at in range(0, len(pieces), _PIECE):
        if not pieces[at]:
            break
        numbers += [number(pieces[at : at + 12]), number(pieces[at + 12 : at + 24])]
    return numbers


def _leading_map(stored: int, stream: Stream) -> tuple[list[int], int]:
    """Version 1.0: before the content, in whole blocks, how many pieces and their numbers, a line each. Also: bytes taken."""
    lines: list[bytes] = []
    rest = b""
    wanted, used = 1, 0
    while len(lines) < wanted:
        block = stream.take(BLOCK)
        used += BLOCK
        if len(block) < BLOCK or used > min(stored, limits.HEADER_BYTES):
            raise LayerError("read layer: the map of a sparse file is cut short, or too long")
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > _LONGEST_NUMBER and len(lines) + len(whole) < wanted:
            raise LayerError("read layer: the map of a sparse file has a number that is too long")
        if not lines and whole:
            wanted += 2 * decimal(whole[0], _MAP)
        lines += whole
    return [decimal(line, _MAP) for line in lines[1:wanted]], used


def _checked(size: int, numbers: list[int]) -> Sparse:
    if len(numbers) % 2:
        raise LayerError("read layer: the map of a sparse file ends in the middle")
    pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in pieces:
        if offset < end or length < 0:
            raise LayerError("read layer: the pieces of a sparse file overlap")
        end = offset + length
    if not end <= size < limits.LAYER_BYTES:
        raise LayerError(f"read layer: a sparse file of {size} bytes is too large, or has pieces beyond its end")
    return Sparse(size, pieces)
