"""Compressed streams: formats, several members, damage, bounded memory."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crate_engine.errors import LayerError
from crate_engine.layers import decompress
from crate_engine.layers.decompress import inflate

CONTENT = random.Random(1).randbytes(300_000) + b"text " * 200_000
zstd = pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the program zstd to compress")


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


def whole(content: bytes, size: int = 65536) -> bytes:
    return b"".join(inflate(pieces(content, size)))


def children() -> set[str]:
    """Processes whose parent is this one, the ended and not collected ones among them. Other tests' servers may be there."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text(errors="replace").rpartition(")")
        except OSError:
            continue
        if fields.split()[1] == str(os.getpid()):
            found.add(name)
    return found


def compressed_by_zstd(content: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-qc", *options], input=content, stdout=subprocess.PIPE, check=True).stdout


@pytest.fixture(params=["zlib", "isal"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "isal":
        pytest.importorskip("isal")
    else:
        monkeypatch.setitem(sys.modules, "isal", None)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("size", [1, 7, 65536, 10**7])
def test_gzip_is_inflated_however_it_is_cut(size: int) -> None:
    content = CONTENT if size > 7 else CONTENT[-20_000:]
    assert whole(gzip.compress(content), size) == content


@pytest.mark.usefixtures("library")
def test_several_members_and_padding_are_one_stream() -> None:
    parts = [b"one", b"", CONTENT, b"three"]
    assert whole(b"".join(map(gzip.compress, parts)) + bytes(700)) == b"".join(parts)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("damage", ["cut", "cut in the trailer", "flipped", "checksum", "garbage behind", "empty body"])
def test_damaged_gzip_is_refused(damage: str) -> None:
    good = bytearray(gzip.compress(CONTENT))
    if damage == "cut":
        good = good[: len(good) // 2]
    elif damage == "cut in the trailer":
        good = good[:-1]
    elif damage == "flipped":
        good[len(good) // 3] ^= 0xFF
    elif damage == "checksum":
        good[-5] ^= 1
    elif damage == "garbage behind":
        good += b"no gzip"
    else:
        good = good[:4]
    with pytest.raises(LayerError, match="gzip data"):
        whole(bytes(good))


@pytest.mark.usefixtures("library")
def test_a_bomb_comes_in_small_chunks() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(64)) + compressor.flush()
    assert len(bomb) < 100_000
    sizes = [len(chunk) for chunk in inflate([bomb])]
    assert (sum(sizes), max(sizes)) == (64 << 20, 1 << 20)


def test_plain_content_passes_unchanged() -> None:
    for content in (b"", b"x", CONTENT):
        assert whole(content, 1000) == content


@pytest.mark.parametrize("start", [b"\xfd7zXZ\x00", b"BZh91AY", b"\x04\x22\x4d\x18", b"\x5d\x00\x00\x80"])
def test_other_formats_are_named(start: bytes) -> None:
    with pytest.raises(LayerError, match=r"compressed with (xz|bzip2|lz4|lzma)"):
        inflate([start + bytes(100)])


@pytest.fixture(params=["library", "program"])
def zstd_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "program":
        monkeypatch.setattr(decompress, "zstd_library", lambda: None)
    elif decompress.zstd_library() is None:
        pytest.skip("needs Python 3.14 or backports.zstd")
    return str(request.param)


@zstd
@pytest.mark.usefixtures("zstd_by")
def test_zstd_is_inflated_also_in_several_frames() -> None:
    frames = compressed_by_zstd(CONTENT) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + compressed_by_zstd(b"two")
    assert whole(frames) == CONTENT + b"two"


@zstd
@pytest.mark.usefixtures("zstd_by")
@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage behind"])
def test_damaged_zstd_is_refused_and_leaves_no_process(damage: str) -> None:
    good = bytearray(compressed_by_zstd(CONTENT))
    if damage == "cut":
        good = good[: len(good) // 2]
    elif damage == "flipped":
        good[30] ^= 0xFF
        good[4] ^= 0xFF
    else:
        good += b"no zstd at all"
    before = children()
    with pytest.raises(LayerError, match="zstd data"):
        whole(bytes(good))
    assert children() == before


@zstd
def test_a_decompressor_that_is_killed_is_an_error_and_no_zombie(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "zstd_library", lambda: None)
    before = children()
    blocks = pieces(compressed_by_zstd(CONTENT), 65536)

    def killing() -> Iterator[bytes]:
        yield blocks[0]
        for task in Path("/proc/self/task").glob("*/children"):
            for pid in task.read_text().split():
                if Path(f"/proc/{pid}/comm").read_text() == "zstd\n":
                    os.kill(int(pid), signal.SIGKILL)
        yield from blocks[1:]

    with pytest.raises(LayerError, match="zstd data"):
        list(inflate(killing()))
    assert children() == before


@zstd
@pytest.mark.usefixtures("zstd_by")
def test_zstd_windows_beyond_the_limit_are_refused() -> None:
    # A hand-made frame header: a window of 2 GiB.
    huge = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00"
    with pytest.raises(LayerError):
        whole(huge)


def test_without_any_zstd_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompress, "zstd_library", lambda: None)
    monkeypatch.setattr(decompress, "_ZSTD_PROGRAMS", ())
    with pytest.raises(LayerError) as failure:
        whole(b"\x28\xb5\x2f\xfd" + bytes(20))
    assert "backports.zstd" in str(failure.value.hint)
