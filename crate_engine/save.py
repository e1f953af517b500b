"""Saving images of the store to files: docker archives, OCI archives, and OCI layouts in directories; layers as they are, byte for byte."""

from __future__ import annotations

from contextlib import ExitStack

from crate_engine import limits
from crate_engine.archive.writing import FORMATS, OCI_DIRECTORY, Outgoing, OutputFile, write_archive, write_directory
from crate_engine.errors import InvalidReference, StoreError, UsageError
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference
from crate_engine.store import leases
from crate_engine.store.images import Image, ImageStore
from crate_engine.store.locks import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from crate_engine.archive.writing import Written
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.store.blobs import BlobStore
    from crate_engine.store.paths import Store

_CHUNK = 1 << 20


def save(
    store: Store,
    asked: Sequence[str],
    *,
    kind: str,
    output: str | None,
    stream: BinaryIO | None = None,
    find: Callable[[str], Image] | None = None,
    progress: Written | None = None,
) -> None:
    """Write images to the file or directory `output`, or an archive to `stream`. `find` looks a name up.

    A repository without a tag means all tags of it that are here, as with docker. Raises CrateError; a file is then as it was before.
    """
    if kind not in FORMATS:
        raise UsageError(f"save: unknown format {kind!r}; there are {', '.join(FORMATS)}")
    if output is None and (stream is None or kind == OCI_DIRECTORY):
        raise UsageError(f"save: {kind} needs a {'directory' if kind == OCI_DIRECTORY else 'file'}", hint="name it with -o")
    images = ImageStore(store)
    with ExitStack() as stack:
        with lock(store, "image", shared=True):
            chosen = _chosen(images, asked, find or images.find)
            stack.enter_context(leases.protect(store, [digest for image, _ in chosen for digest in image.blobs]))
        outgoing = [outgoing_of(images.blobs, image, names) for image, names in chosen]
        if kind == OCI_DIRECTORY:
            assert output is not None
            write_directory(output, outgoing, progress)
        elif output is not None:
            with OutputFile(output) as file:
                _write(file, outgoing, kind, output, progress)
        else:
            assert stream is not None
            write_archive(stream, outgoing, kind, progress)
            stream.flush()


def _write(file: BinaryIO, outgoing: Sequence[Outgoing], kind: str, output: str, progress: Written | None) -> None:
    try:
        write_archive(file, outgoing, kind, progress)
    except OSError as error:
        raise StoreError(f"write {output}: {error.strerror}") from error


def outgoing_of(blobs: BlobStore, image: Image, names: Sequence[Reference], label: str = "") -> Outgoing:
    raw_manifest = blobs.read(image.descriptor.digest, limits.MANIFEST_BYTES)
    raw_config = blobs.read(image.manifest.config.digest)

    def blocks(layer: Descriptor) -> Iterator[bytes]:
        return blobs.blocks(layer.digest)

    return Outgoing(image.descriptor, image.manifest, raw_manifest, raw_config, tuple(names), blocks, label)


def _chosen(images: ImageStore, asked: Sequence[str], find: Callable[[str], Image]) -> list[tuple[Image, list[Reference]]]:
    """Each image once, with the names that were asked for."""
    if not asked:
        raise UsageError("save: no image is named")
    chosen: dict[Digest, tuple[Image, list[Reference]]] = {}
    for text in asked:
        for image, name in _meant(images, text, find):
            names = chosen.setdefault(image.descriptor.digest, (image, []))[1]
            if name is not None and name not in names:
                names.append(name)
    return list(chosen.values())


def _meant(images: ImageStore, text: str, find: Callable[[str], Image]) -> list[tuple[Image, Reference | None]]:
    try:
        reference = Reference.parse(text)
    except InvalidReference:
        return [(find(text), None)]
    if reference.digest is None and not _has_tag(text):
        names = [name for image in images.all() for name in image.names if name.name == reference.name and name.tag]
        if names:
            return [(images.find(str(name)), name) for name in names]
    image = find(text)
    # A short name may have been looked up under another registry; an id is no name.
    suited = [name for name in image.names if name.tag == reference.tag and name.repository.endswith(reference.repository)]
    return [(image, next((name for name in suited if name == reference), suited[0]) if suited and not reference.digest else None)]


def _has_tag(text: str) -> bool:
    return ":" in text.rpartition("/")[2]
