"""What a layer may cost: each limit in the worker process that unpacks, at it and one beyond, with the memory that it took.

Every attack stands beside a layer that looks like it and is unpacked. Bombs are written as they are read, so that no test needs their size.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crate_engine import limits
from tests.support import host, unpacking
from tests.support.tars import END, header, member, octal, pax, record

MIB = 1 << 20
MEMORY = 150 * MIB


class Blob:
    """A compressed layer that is written piece by piece."""

    def __init__(self, path: Path, pieces: Iterator[bytes], *, level: int = 1) -> None:
        self.path, self.size = path, 0
        digest = hashlib.sha256()
        packer = zlib.compressobj(level, zlib.DEFLATED, 31)
        with open(path, "wb") as file:
            for piece in pieces:
                digest.update(piece)
                self.size += len(piece)
                file.write(packer.compress(piece))
            file.write(packer.flush())
        self.diff_id = f"sha256:{digest.hexdigest()}"


Unpack = Callable[..., dict[str, Any]]


@pytest.fixture
def unpack(base: Path, tmp_path: Path) -> Iterator[Unpack]:
    directory = base / f"limits-{tmp_path.name}"
    directory.mkdir()
    number = 0

    def run(source: Path | bytes | Iterator[bytes], *, diff_id: str = "", keep: bool = False, **lowered: int) -> dict[str, Any]:
        """In a process of its own. `lowered` are limits by name."""
        nonlocal number
        number += 1
        blob = directory / f"blob-{number}"
        if isinstance(source, Path):
            blob = source
        elif isinstance(source, bytes):
            made = Blob(blob, iter([source]))
            diff_id = diff_id or made.diff_id
        else:
            made = Blob(blob, source)
            diff_id = diff_id or made.diff_id
        place = directory / f"layer-{number}"
        request = {"directory": str(place), "layers": [(str(blob), diff_id or "sha256:" + "0" * 64)], "limits": lowered}
        done = subprocess.run(
            [sys.executable, "-B", unpacking.DRIVER, json.dumps(request)], stdout=subprocess.PIPE, timeout=120, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout)
        if "error" in answer:
            assert not (place / "0").exists(), "what was unpacked until then is still there"
        answer["place"] = place / "0/fs"
        if not keep:
            shutil.rmtree(place)
        return answer

    yield run
    shutil.rmtree(directory)


def refused(answer: dict[str, Any], text: str) -> None:
    assert text in answer["error"]["message"], answer
    assert answer["error"]["type"] == "LayerError"
    assert answer["peak"] < MEMORY, answer["peak"] >> 20


def accepted(answer: dict[str, Any]) -> None:
    assert "error" not in answer, answer
    assert answer["peak"] < MEMORY, answer["peak"] >> 20


def zeros(size: int) -> Iterator[bytes]:
    while size:
        piece = bytes(min(size, MIB))
        size -= len(piece)
        yield piece


def noise(size: int) -> bytes:
    """What does not get smaller."""
    return b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(size // 32))


def test_a_bomb_is_refused_and_a_large_file_is_not(unpack: Unpack) -> None:
    def bomb(size: int) -> Iterator[bytes]:
        yield header(b"zeros", size=octal(size))
        yield from zeros(size)
        yield END

    refused(unpack(bomb(600 * MIB)), "grows more than 200-fold")
    accepted(unpack(bomb(60 * MIB)))  # below the size from which on the ratio counts


def test_the_ratio_counts_from_its_size_on(unpack: Unpack) -> None:
    content = member(b"noise", noise(64 << 10)) + member(b"zeros", bytes(4 * MIB)) + END
    ratio = len(content) // len(gzip.compress(content, 1))
    accepted(unpack(content, LAYER_RATIO_AFTER=MIB, LAYER_RATIO=ratio + 2))
    refused(unpack(content, LAYER_RATIO_AFTER=MIB, LAYER_RATIO=ratio // 2), "-fold")


def test_the_size_of_a_layer_is_limited(unpack: Unpack) -> None:
    content = member(b"a", noise(MIB)) + member(b"b", noise(MIB)) + END
    accepted(unpack(content, LAYER_BYTES=len(content)))
    refused(unpack(content, LAYER_BYTES=len(content) - 1), "bytes")


def test_the_number_of_entries_is_limited(unpack: Unpack) -> None:
    content = b"".join(member(b"%d" % number) for number in range(100)) + END
    accepted(unpack(content, LAYER_ENTRIES=100))
    refused(unpack(content, LAYER_ENTRIES=99), "more than 99 entries")


def test_what_follows_the_end_is_hashed_and_limited(unpack: Unpack) -> None:
    accepted(unpack(iter([member(b"a"), END, *zeros(limits.LAYER_TRAILER)])))
    refused(unpack(iter([member(b"a"), END, *zeros(limits.LAYER_TRAILER + 1)])), "follow its end")
    answer = unpack(member(b"a") + END + b"x", diff_id="sha256:" + hashlib.sha256(member(b"a") + END).hexdigest())
    assert answer["error"]["type"] == "DigestMismatch"


def test_tens_of_thousands_of_entries_take_no_more_memory_than_few(unpack: Unpack) -> None:
    """Directories wait for their attributes, whiteouts are asked for again, long names and attributes come with each."""

    def many(count: int) -> Iterator[bytes]:
        for number in range(count):
            name = b"%s/%d" % (b"n" * 200, number)
            yield pax(path=name + b"/", SCHILY__xattr__user__a=b"v" * 200) + header(kind=b"5", mode=octal(0o700, 8))
            yield pax(path=b"w/.wh.%d" % number) + header()
        yield END

    few, more = unpack(many(100)), unpack(many(20_000), LAYER_RATIO=100_000)
    accepted(few)
    accepted(more)
    assert more["peak"] - few["peak"] < 16 * MIB


def test_extended_headers_of_any_number_take_no_more_memory_than_one(unpack: Unpack) -> None:
    def records(count: int) -> Iterator[bytes]:
        for number in range(count):
            content = b"".join(record(f"key{number}.{part}", b"v" * 1000) for part in range(900))
            yield header(b"x", b"x", size=octal(len(content))) + content + bytes(-len(content) % 512)
        yield member(b"f") + END

    answers = [unpack(records(count), LAYER_RATIO=100_000) for count in (1, 150)]
    for answer in answers:
        accepted(answer)
    assert answers[1]["peak"] - answers[0]["peak"] < 24 * MIB


def test_a_file_of_holes_costs_neither_memory_nor_space(unpack: Unpack) -> None:
    fields = {"GNU__sparse__major": b"1", "GNU__sparse__minor": b"0", "GNU__sparse__realsize": b"%d" % (200 << 30)}
    answer = unpack(pax(**fields) + member(b"hole", b"0\n".ljust(512, b"\0")) + END, keep=True)
    accepted(answer)
    status = os.stat(answer["place"] / "hole")
    assert (status.st_size, status.st_blocks) == (200 << 30, 0)
    many = b"".join(pax(**fields) + member(b"hole", b"0\n".ljust(512, b"\0")) for _ in range(2))
    refused(unpack(many + END), "holes")


def test_a_sparse_map_of_the_largest_size_is_read_within_bounds(unpack: Unpack) -> None:
    pieces = 90_000
    lines = b"%d\n" % pieces + b"".join(b"%d\n0\n" % (number * 10) for number in range(pieces))
    fields = {"GNU__sparse__major": b"1", "GNU__sparse__minor": b"0", "GNU__sparse__realsize": b"900000"}
    accepted(unpack(pax(**fields) + member(b"map", lines.ljust(-(-len(lines) // 512) * 512, b"\0")) + END))


# --- decompressors


def zstd() -> str:
    return host.program("zstd")


def test_a_zstd_window_beyond_the_limit_is_refused_and_the_largest_allowed_is_not(unpack: Unpack, base: Path) -> None:
    content = member(b"noise", noise(4 * MIB)) + END
    for window, fine in ((27, True), (31, False)):
        packed = subprocess.run(
            [zstd(), "-q", "--single-thread", "--ultra", f"--long={window}", "-c"],
            input=content,
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        path = base / f"window-{window}.zst"
        path.write_bytes(packed)
        answer = unpack(path, diff_id=f"sha256:{hashlib.sha256(content).hexdigest()}")
        path.unlink()
        if fine:
            assert "error" not in answer
        else:
            refused(answer, "zstd")
        assert answer["peak"] < 256 * MIB


def test_data_that_breaks_off_or_turns_to_garbage_ends_in_an_error_and_no_process(unpack: Unpack, base: Path) -> None:
    content = member(b"noise", noise(4 * MIB)) + END
    diff_id = f"sha256:{hashlib.sha256(content).hexdigest()}"
    packed = {"gzip": gzip.compress(content, 1)}
    if host.has("zstd"):
        packed["zstd"] = subprocess.run([zstd(), "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    for name, whole in packed.items():
        for what, damaged in (
            ("cut", whole[: len(whole) // 2]),
            ("garbage", whole[:MIB] + bytes(len(whole) - MIB)),
            ("garbage behind", whole + b"garbage"),
        ):
            path = base / f"damaged-{name}"
            path.write_bytes(damaged)
            answer = unpack(path, diff_id=diff_id)
            path.unlink()
            assert answer["error"]["type"] == "LayerError", (name, what, answer)
    assert not [line for line in _children() if "zstd" in line]


def _children() -> list[str]:
    return subprocess.run(
        ["ps", "--ppid", str(os.getpid()), "-o", "args="], stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()


@pytest.mark.parametrize("sizes", [(1, 1), (512, 4096), (MIB, 3)], ids=str)
def test_an_archive_that_is_packed_in_many_members_is_read_whole(unpack: Unpack, base: Path, sizes: tuple[int, int]) -> None:
    content = member(b"noise", noise(MIB)) + END
    packed, at, turn = io.BytesIO(), 0, 0
    while at < len(content):
        size = max(sizes[turn % 2], 4000)
        packed.write(gzip.compress(content[at : at + size], 1))
        at, turn = at + size, turn + 1
    path = base / "members.gz"
    path.write_bytes(packed.getvalue())
    accepted(unpack(path, diff_id=f"sha256:{hashlib.sha256(content).hexdigest()}"))
    path.unlink()


@pytest.mark.parametrize("fault", ["inflate layer", "read layer"])
def test_a_layer_that_is_wrong_does_not_wait_for_the_rest_of_the_blob(tmp_path: Path, fault: str) -> None:
    """The thread that feeds the decompressor may be waiting for the network then: nobody waits for it, and it hears no other layer's news."""
    content = member(b"noise", noise(4 * MIB)) if fault == "inflate layer" else noise(4 * MIB)
    packed = subprocess.run([zstd(), "-q", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout
    (tmp_path / "blob").write_bytes(packed[: 512 << 10] + b"\xff" * MIB)
    script = """
import os, sys
sys.path.insert(0, sys.argv[1])
from crate_engine.errors import LayerError
from crate_engine.layers import decompress
from crate_engine.layers.worker import Worker
from crate_engine.oci.digest import Digest
from crate_engine.system import userns
decompress.zstd_library = lambda: None
os.mkdir("trash")
worker = Worker(userns.choose(), "trash")
for number in range(3):
    with open("blob", "rb") as blob:
        worker.start(blob.fileno(), f"{os.getcwd()}/{number}", Digest.of(b""))
        worker.advance(1 << 20)  # more is promised, and never comes
        try:
            worker.result()
        except LayerError as error:
            print(error)
worker.close()
print(sorted(os.listdir()))
"""
    command = [sys.executable, "-B", "-c", script, str(unpacking.ROOT)]
    done = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    *errors, left = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in errors] == [fault] * 3, done.stdout
    assert left == "['blob', 'trash']"


# --- a full disk


def test_a_full_disk_ends_in_one_line_and_frees_what_was_written(base: Path, tmp_path: Path) -> None:
    host.need_root()
    content = member(b"noise", noise(6 * MIB)) + END
    blob = Blob(base / "full-blob", iter([content]))
    request = {"directory": "disk/layers", "layers": [(str(blob.path), blob.diff_id)]}
    script = (
        'mount -t tmpfs -o size=4m none disk && "$@"; status=$?; df --output=used disk | tail -1; umount -l disk; exit $status'
    )
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-B", unpacking.DRIVER, json.dumps(request)],
        stdout=subprocess.PIPE, cwd=tmp_path, text=True, timeout=60, check=True,
    )  # fmt: skip
    blob.path.unlink()
    answer, used = done.stdout.splitlines()
    assert json.loads(answer)["error"] == {
        "type": "StoreError",
        "message": "unpack /noise: No space left on device",
        "hint": None,
    }
    assert int(used) == 0
