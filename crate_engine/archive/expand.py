"""Archives that people hand in, uncompressed: gzip and zstd as layers are, and xz and bzip2, in which root file systems are often packed.

Limited in memory, and in how far it may grow, as layers are (`limits`).
"""

from __future__ import annotations

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers.decompress import inflate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

PLAIN, GZIP, ZSTD, XZ, BZIP2 = "", "gzip", "zstd", "xz", "bzip2"
HEAD = 6
"""Bytes that tell the format."""
_CHUNK = 1 << 20
_XZ_MEMORY = 128 << 20  # xz -9 needs 65 MiB


def format_of(head: bytes) -> str:
    """By the first bytes; what is none of the known formats counts as plain."""
    if head.startswith(b"\x1f\x8b"):
        return GZIP
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return ZSTD
    if head.startswith(b"\xfd7zXZ\x00"):
        return XZ
    return BZIP2 if head.startswith(b"BZh") else PLAIN


def expand(blocks: Iterable[bytes], kind: str) -> Iterator[bytes]:
    """The content of a stream of this format, in chunks. Raises LayerError, also when it grows beyond the limits."""
    counted = _Counted(blocks)
    content = _streams(counted, kind) if kind in (XZ, BZIP2) else inflate(counted)
    size = 0
    for chunk in content:
        size += len(chunk)
        if size > limits.LAYER_BYTES:
            raise LayerError(f"expand archive: it has more than {limits.LAYER_BYTES} bytes")
        if size > limits.LAYER_RATIO_AFTER and size > limits.LAYER_RATIO * counted.count:
            raise LayerError(f"expand archive: it grows more than {limits.LAYER_RATIO}-fold")
        if chunk:
            yield chunk


class _Counted:
    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self.count = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self.count += len(block)
            yield block


def _streams(blocks: Iterable[bytes], kind: str) -> Iterator[bytes]:
    """Several streams one after the other are one content; zeros may pad the last."""
    make, failures = _decompressor(kind)
    engine, started = make(), False
    try:
        for block in blocks:
            while block or not (engine.eof or engine.needs_input):
                if engine.eof:
                    if not block.strip(b"\0"):
                        break
                    engine = make()
                started = True
                yield engine.decompress(block, _CHUNK)
                block = engine.unused_data if engine.eof else b""
    except failures as error:
        raise LayerError(f"expand archive: its {kind} data is damaged, or wants too much memory: {error}") from error
    if not started or not engine.eof:
        raise LayerError(f"expand archive: its {kind} data ends too early")


def _decompressor(kind: str) -> tuple[Callable[[], Any], tuple[type[Exception], ...]]:
    try:
        if kind == XZ:
            import lzma

            return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _XZ_MEMORY), (lzma.LZMAError, MemoryError)
        import bz2

        return bz2.BZ2Decompressor, (OSError, ValueError)
    except ImportError:
        raise LayerError(
            f"expand archive: this Python cannot read {kind}", hint=f"expand it first: {'xz' if kind == XZ else kind} -d FILE"
        ) from None
