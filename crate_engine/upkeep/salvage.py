"""The index of a store whose index.json is damaged or lost: from what can still be read of it, from the one before, and from the blobs.

Nothing is written here. A name that none of these has is lost: its image is found again, without a name.
"""

from __future__ import annotations

import json
from contextlib import suppress

from crate_engine import limits
from crate_engine.errors import CrateError, ImageError
from crate_engine.oci import layout, media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.manifest import Manifest
from crate_engine.store import index
from crate_engine.store.images import PREVIOUS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.store.images import ImageStore
    from crate_engine.store.paths import Store


def entries(images: ImageStore, store: Store) -> tuple[Descriptor, ...]:
    """Those whose images are here, each name once."""
    path = f"{store.oci}/{layout.INDEX}"
    found: dict[str, Descriptor] = {}
    for entry in (*readable(_read(path)), *readable(_read(path + PREVIOUS))):
        name = index.name_of(entry)
        if name and name not in found and _is_here(images, entry):
            found[name] = entry
    named = {entry.digest for entry in found.values()}
    return (*found.values(), *(entry for entry in whole_manifests(images) if entry.digest not in named))


def readable(raw: bytes) -> Iterator[Descriptor]:
    """The entries at the beginning of an index that may be cut short, or filled with zeros."""
    text = raw.decode(errors="replace")
    at = text.find("[", text.find('"manifests"'))
    decoder = json.JSONDecoder()
    while at >= 0:
        start = text.find("{", at)
        if start < 0:
            return
        try:
            document, at = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        with suppress(ImageError):
            yield Descriptor.from_object(document, layout.INDEX)


def whole_manifests(images: ImageStore) -> Iterator[Descriptor]:
    """Every manifest among the blobs whose configuration and layers are all here."""
    for digest in images.blobs.all():
        size = images.blobs.size(digest)
        if not 0 < size <= limits.MANIFEST_BYTES:
            continue
        entry = Descriptor(media_types.OCI_MANIFEST, digest, size)
        with suppress(CrateError):
            manifest = Manifest.from_json(images.blobs.read(digest, limits.MANIFEST_BYTES), media_types.OCI_MANIFEST)
            if not all(images.blobs.has(blob.digest, blob.size) for blob in manifest.layers):
                continue
            image = images.read([entry])
            notes = {index.IDENTITY: image.id, index.CREATED: image.created}
            yield Descriptor(entry.media_type, digest, size, notes, image.platform)


def _is_here(images: ImageStore, entry: Descriptor) -> bool:
    try:
        images.read([entry])
    except CrateError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(limits.INDEX_FILE_BYTES)
    except OSError:
        return b""
