"""Unpacks layers as a pull does, but from files: blobs hashed here, inflated, hashed and made real in worker processes, one a core.

`unpack_layer.py [--zlib | --parts] DIRECTORY LAYER DIFF_ID [LAYER DIFF_ID]…`, the program of a benchmark, run by the Python that crate is
installed for. With `--zlib` it does without isal. With `--parts` it does the parts of the work one after the other, of the first layer, and prints
what each takes, as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import time
from typing import Any

from crate_engine.layers import entries
from crate_engine.layers.decompress import inflate
from crate_engine.layers.unpack import Unpacker
from crate_engine.layers.worker import Worker
from crate_engine.oci.digest import Digest
from crate_engine.system import userns

_BLOCK = 256 << 10


def main(arguments: list[str]) -> None:
    flag = arguments.pop(0) if arguments[0].startswith("--") else ""
    if flag == "--zlib":
        sys.modules["isal"] = None  # type: ignore[assignment]
    directory, *rest = arguments
    layers = list(zip(rest[::2], rest[1::2], strict=True))
    if flag == "--parts":
        print(json.dumps(_parts(directory, layers[0][0])))
    else:
        _unpack(directory, layers)


def _unpack(directory: str, layers: list[tuple[str, str]]) -> None:
    os.makedirs(f"{directory}/trash")
    workers = [Worker(userns.choose(), f"{directory}/trash") for _ in range(min(len(layers), len(os.sched_getaffinity(0))))]
    waiting = list(enumerate(layers))

    def work(worker: Worker) -> None:
        while waiting:
            try:
                number, (layer, diff_id) = waiting.pop(0)
            except IndexError:
                return
            _unpack_one(worker, layer, diff_id, f"{directory}/{number}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in workers:
        worker.close()
    if missing := [layer for number, (layer, _) in enumerate(layers) if not os.path.exists(f"{directory}/{number}/fs")]:
        sys.exit(f"not unpacked: {missing}")


def _unpack_one(worker: Worker, layer: str, diff_id: str, target: str) -> None:
    digest, read = hashlib.sha256(), 0
    with open(layer, "rb", buffering=0) as blob:
        worker.start(blob.fileno(), target, Digest.parse(diff_id))
        while block := blob.read(_BLOCK):
            digest.update(block)
            read += len(block)
            worker.advance(read)
    worker.end(read)
    worker.result()


class _Memory:
    """The uncompressed archive, as the parser and the unpacker want it."""

    def __init__(self, content: bytes) -> None:
        self._view = memoryview(content)
        self._at = 0

    def take(self, count: int) -> bytes:
        self.skip(count)
        return bytes(self._view[self._at - count : self._at])

    def copy(self, fd: int, count: int) -> None:
        os.write(fd, self._view[self._at : self._at + count])
        self.skip(count)

    def skip(self, count: int) -> None:
        self._at += count


def _parts(directory: str, layer: str) -> dict[str, float]:
    """Milliseconds of each part alone: they overlap when a layer is unpacked, so the costliest is the least that a layer can take."""
    took: dict[str, float] = {}

    def timed(name: str, work: Any) -> Any:
        begun = time.perf_counter()
        result = work()
        took[name] = (time.perf_counter() - begun) * 1e3
        return result

    with open(layer, "rb") as file:
        packed = file.read()
    blocks = [packed[at : at + _BLOCK] for at in range(0, len(packed), _BLOCK)]
    timed("inflating as installed", lambda: sum(len(chunk) for chunk in inflate(blocks)))
    sys.modules["isal"] = None  # type: ignore[assignment]
    timed("inflating with zlib", lambda: sum(len(chunk) for chunk in inflate(blocks)))
    timed("hashing the blob", lambda: hashlib.sha256(packed))
    plain = b"".join(inflate(blocks))
    timed("hashing the archive", lambda: hashlib.sha256(plain))
    timed("reading headers", lambda: _apply(_Memory(plain), None))
    os.umask(0)
    os.makedirs(directory)
    root = os.open(directory, os.O_RDONLY)
    unpacker = Unpacker(root, userns.choose().mode if os.geteuid() == 0 else "single")
    timed("reading headers and making files", lambda: _apply(_Memory(plain), unpacker))
    return took


def _apply(stream: _Memory, unpacker: Unpacker | None) -> None:
    for entry in entries.read(stream):
        if unpacker is None:
            stream.skip(entry.size)
        else:
            unpacker.apply(entry, stream.copy)
        stream.skip(entries.padding(entry.size))
    if unpacker is not None:
        unpacker.finish()


main(sys.argv[1:])
