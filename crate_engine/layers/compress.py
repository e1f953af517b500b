"""Layers compressed as they stream: gzip (RFC 1952), zstd (RFC 8878), or not at all; the counterpart of `decompress`.

The same content gives the same bytes with the same library: no time and no name go into a header.
"""

from __future__ import annotations

import zlib

from crate_engine.errors import HostError, UsageError
from crate_engine.layers.decompress import zstd_library, zstd_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PLAIN, GZIP, ZSTD = "", "gzip", "zstd"
FORMATS = (GZIP, ZSTD)
_LEVELS = {GZIP: (1, 9, 6), ZSTD: (1, 20, 3)}
_CHUNK = 1 << 20


def check_level(kind: str, level: int | None) -> int:
    """The level to use, the format's usual one for None. Raises UsageError."""
    least, most, usual = _LEVELS[kind]
    if level is None:
        return usual
    if not least <= level <= most:
        raise UsageError(f"compression level {level}: {kind} has levels from {least} to {most}")
    return level


def deflate(blocks: Iterable[bytes], kind: str, level: int | None = None) -> Iterator[bytes]:
    """The compressed stream. Raises UsageError for a level that the format does not have, HostError where zstd is missing."""
    if kind == PLAIN:
        return iter(blocks)
    level = check_level(kind, level)
    return _gzip(blocks, level) if kind == GZIP else _zstd(blocks, level)


def _gzip(blocks: Iterable[bytes], level: int) -> Iterator[bytes]:
    engine = zlib.compressobj(level, zlib.DEFLATED, 31)
    return _through(blocks, engine.compress, engine.flush)


def _zstd(blocks: Iterable[bytes], level: int) -> Iterator[bytes]:
    library = zstd_library()
    if library is not None:
        engine = library.ZstdCompressor(level=level)
        return _through(blocks, engine.compress, engine.flush)
    program = zstd_program()
    if program is None:
        raise HostError(
            "compress layer with zstd: there is no library and no program for it",
            hint="install the Python package backports.zstd, or the program zstd",
        )
    return _through_program(blocks, [program, "-cq", f"-{level}", *(["--ultra"] if level > 19 else [])])


def _through(blocks: Iterable[bytes], step: Callable[[bytes], bytes], end: Callable[[], bytes]) -> Iterator[bytes]:
    for block in blocks:
        if piece := step(block):
            yield piece
    yield end()


def _through_program(blocks: Iterable[bytes], words: list[str]) -> Iterator[bytes]:
    """A thread feeds the program, so that neither pipe can fill up while the other is waited for."""
    import subprocess
    import threading

    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={})
    assert child.stdin is not None and child.stdout is not None
    failures: list[BaseException] = []

    def feed() -> None:
        try:
            with child.stdin as pipe:  # type: ignore[union-attr]
                for block in blocks:
                    pipe.write(block)
        except BaseException as error:
            failures.append(error)
            child.kill()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while piece := child.stdout.read(_CHUNK):
            yield piece
        feeder.join()
        if failures:
            raise failures[0]
        if child.wait():
            raise HostError(f"compress layer: {words[0]} failed with exit status {child.returncode}")
    finally:
        child.stdout.close()
        child.kill()
        child.wait()
        feeder.join()
