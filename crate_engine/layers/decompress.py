"""Compressed layers inflated as they arrive: gzip (RFC 1952), zstd (RFC 8878), or plain tar; told apart by their first bytes.

The media type only says that something is a layer: registries hold layers that call themselves gzip and are not. The diff id, checked
by the caller, is what the content must agree with. Formats outside the image specification (xz, bzip2) raise LayerError.
"""

from __future__ import annotations

import os
import threading
import zlib

from crate_engine import limits
from crate_engine.errors import LayerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

_CHUNK = 1 << 20
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"  # zstd skippable frames: any of 0x50 to 0x5f first
_FOREIGN = {b"\xfd7zXZ\x00": "xz", b"BZh": "bzip2", b"\x5d\x00\x00": "lzma", b"\x04\x22\x4d\x18": "lz4"}
_MAGIC_BYTES = 6
_ZSTD_PROGRAMS = ("/usr/bin/zstd", "/usr/local/bin/zstd", "/bin/zstd")


def inflate(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The uncompressed content of a stream of blocks of any size, in chunks of at most 1 MiB. Raises LayerError."""
    source = iter(blocks)
    head = b""
    while len(head) < _MAGIC_BYTES and (block := next(source, b"")):
        head += block
    whole = _chain(head, source)
    if head.startswith(_GZIP):
        return _members(whole, "gzip", _gzip_decompressor())
    if head.startswith(_ZSTD) or head[1:4] == _SKIPPABLE:
        return _inflate_zstd(whole)
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise LayerError(f"inflate layer: it is compressed with {name}, which images may not use")
    return whole


def _chain(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _gzip_decompressor() -> Callable[[], Any]:
    try:
        from isal import isal_zlib  # Intel's library inflates two to three times as fast
    except ImportError:
        return lambda: zlib.decompressobj(31)
    return lambda: isal_zlib.decompressobj(31)


def _members(blocks: Iterator[bytes], name: str, make: Callable[[], Any]) -> Iterator[bytes]:
    """gzip allows several members one after the other, and parallel compressors write them so."""
    engine = make()
    started = False
    try:
        for block in blocks:
            while block:
                if engine.eof:
                    if not block.strip(b"\0"):
                        break  # padding after the last member
                    engine = make()
                started = True
                yield engine.decompress(block, _CHUNK)
                block = engine.unused_data if engine.eof else engine.unconsumed_tail
                while not engine.eof and not block and (more := engine.decompress(b"", _CHUNK)):
                    yield more
    except (zlib.error, EOFError, ValueError, OSError) as error:
        raise _broken(name, error) from error
    except Exception as error:
        if type(error).__name__ in ("IsalError", "error"):
            raise _broken(name, error) from error
        raise
    if not started or not engine.eof:
        raise LayerError(f"inflate layer: its {name} data ends too early")


def _broken(name: str, error: Exception) -> LayerError:
    return LayerError(f"inflate layer: its {name} data is damaged: {error}")


def _inflate_zstd(blocks: Iterator[bytes]) -> Iterator[bytes]:
    library = zstd_library()
    if library is not None:
        return _frames(blocks, library)
    program = zstd_program()
    if program is None:
        raise LayerError(
            "inflate layer: it is compressed with zstd, which needs a library",
            hint="install the Python package backports.zstd, or the program zstd",
        )
    return _through_program(blocks, program)


def zstd_program() -> str | None:
    """The path of the program zstd, where it is installed."""
    return next((path for path in _ZSTD_PROGRAMS if os.access(path, os.X_OK)), None)


def zstd_library() -> Any:
    """The standard library's module of Python 3.14, or its backport; None where there is neither."""
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
    except ImportError:
        try:
            from backports import zstd  # type: ignore[import-not-found,import-untyped,unused-ignore]
        except ImportError:
            return None
    return zstd


def _frames(blocks: Iterator[bytes], library: Any) -> Iterator[bytes]:
    options = {library.DecompressionParameter.window_log_max: limits.ZSTD_WINDOW_LOG}
    engine = library.ZstdDecompressor(options=options)
    started = False
    try:
        for block in blocks:
            while block or not (engine.eof or engine.needs_input):
                if engine.eof:
                    engine = library.ZstdDecompressor(options=options)
                started = True
                yield engine.decompress(block, _CHUNK)
                block = engine.unused_data if engine.eof else b""
    except library.ZstdError as error:
        raise _broken("zstd", error) from error
    if not started or not engine.eof:
        raise LayerError("inflate layer: its zstd data ends too early")


def _through_program(blocks: Iterator[bytes], program: str) -> Iterator[bytes]:
    """zstd -dc as a child: a thread feeds it, so that neither pipe can fill up while the other is waited for."""
    import subprocess

    child = subprocess.Popen(
        [program, "-dcq", f"--memory={1 << (limits.ZSTD_WINDOW_LOG - 20)}MB"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
    )
    assert child.stdin is not None and child.stdout is not None
    failures: list[BaseException] = []

    def feed() -> None:
        try:
            with child.stdin as pipe:  # type: ignore[union-attr]
                for block in blocks:
                    pipe.write(block)
        except BrokenPipeError:
            pass  # the program ended early: its exit status says so
        except BaseException as error:
            failures.append(error)
            child.kill()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    try:
        while chunk := child.stdout.read1(_CHUNK):  # type: ignore[attr-defined]  # it is buffered
            yield chunk
        if child.stdin.closed:
            feeder.join()
        else:
            child.kill()  # it gave up before the end: the feeder may be waiting for a block, and the program for the feeder
        if failures:
            raise failures[0]
        if child.wait():
            raise LayerError(
                f"inflate layer: its zstd data is damaged, or wants more memory than the {1 << (limits.ZSTD_WINDOW_LOG - 20)} MiB allowed"
            )
    finally:
        child.stdout.close()
        child.kill()
        child.wait()
