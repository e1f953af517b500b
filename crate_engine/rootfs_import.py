"""Making an image from the archive of a root file system: a file, a web address, or standard input; plain or compressed (`docker import`).

What is plain, gzip or zstd already becomes the layer as it is, byte for byte; xz and bzip2, which images may not use, become gzip.
"""

from __future__ import annotations

import os
import stat

from crate_engine import building, limits
from crate_engine.archive import expand
from crate_engine.building import Hashed, NewLayer
from crate_engine.errors import ImageError, LayerError, UsageError
from crate_engine.layers.compress import GZIP
from crate_engine.oci import changes as instructions
from crate_engine.oci.platform import Platform
from crate_engine.store.new_blob import NewBlob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from crate_engine.oci.digest import Digest
    from crate_engine.registry.access import Access
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace

_CHUNK = 1 << 20


def bring_in(
    store: Store,
    source: str,
    name: str | None,
    *,
    changes: Sequence[str] = (),
    message: str = "",
    platform: Platform | None = None,
    user_namespace: UserNamespace,
    access: Access,
    progress: Any = None,
) -> Image:
    """`source` is a path, an http or https address, or `-`. Unpacked and checked like any layer. Raises CrateError; then nothing is kept.

    `progress` is told of one layer under the name of the file, as its digest is known at the end.
    """
    reference = building.new_name(name)
    config: dict[str, Any] = {}
    instructions.apply(config, changes)
    wanted = platform or Platform.host()
    what = f"import {source}"
    watch = _OneLayer(source, progress) if progress is not None else None
    with NewBlob(store) as blob:
        layer = _layer(blob, _told(_blocks(source, access), watch), what)
        created = building.now()
        document = {
            "created": created,
            **wanted.to_object(),
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [str(layer.diff_id)]},
            "history": [
                {"created": created, "created_by": f"crate import {source}", "comment": message or f"imported from {source}"}
            ],
        }
        return building.keep(
            store, document, [layer.descriptor], reference, [blob], user_namespace=user_namespace, what=what, progress=watch
        )


class _OneLayer:
    """The Progress of a layer by the name of its file. Of what cannot tell its size, the size is 0."""

    def __init__(self, source: str, progress: Any) -> None:
        """`progress` is a Progress that does not mind what it is told instead of a digest."""
        self._name = source.rstrip("/").rpartition("/")[2] if source != "-" else "archive"
        self._progress = progress
        progress.layer_started(self._name, _size(source))

    def layer_started(self, digest: Digest, size: int) -> None:
        """It has, under its name."""

    def advanced(self, digest: object, count: int) -> None:
        self._progress.advanced(self._name, count)

    def unpacking(self, digest: Digest) -> None:
        self._progress.unpacking(self._name)

    def layer_done(self, digest: Digest, cached: bool) -> None:
        self._progress.layer_done(self._name, cached)


def _size(source: str) -> int:
    """Bytes of a regular file, else 0. What cannot be opened is told where it is opened."""
    try:
        status = os.fstat(0) if source == "-" else os.stat(source)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _told(blocks: Iterator[bytes], watch: _OneLayer | None) -> Iterator[bytes]:
    for block in blocks:
        if watch is not None:
            watch.advanced(None, len(block))
        yield block


def _layer(blob: NewBlob, source: Iterator[bytes], what: str) -> NewLayer:
    head = b""
    while len(head) < expand.HEAD and (piece := next(source, b"")):
        head += piece
    if not head:
        raise ImageError(f"{what}: it is empty")
    kind = expand.format_of(head)
    whole = _joined(head, source)
    try:
        if kind in (expand.XZ, expand.BZIP2):
            return building.write_layer(blob, expand.expand(whole, kind), GZIP)
        content = Hashed(expand.expand(_kept(whole, blob), kind))
        for _ in content:
            pass
    except LayerError as error:
        raise ImageError(f"{what}: {error}", hint=error.hint) from error
    return NewLayer(building.describe(blob, kind), content.digest)


def _kept(blocks: Iterator[bytes], blob: NewBlob) -> Iterator[bytes]:
    for block in blocks:
        blob.write(block)
        if blob.size > limits.BLOB_BYTES:
            raise LayerError(f"it is larger than the {limits.BLOB_BYTES} bytes allowed")
        yield block


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from rest


def _blocks(source: str, access: Access) -> Iterator[bytes]:
    if source.startswith(("http://", "https://")):
        from crate_engine.registry.download import download

        return download(source, access)
    return _file_blocks(source)


def _file_blocks(source: str) -> Iterator[bytes]:
    try:
        fd = os.dup(0) if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"import {source}: {error.strerror}") from error
    try:
        while block := os.read(fd, _CHUNK):
            yield block
    except OSError as error:
        raise ImageError(f"import {source}: {error.strerror}") from error
    finally:
        os.close(fd)
