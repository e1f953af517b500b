"""A list of all images from index.json alone, so that five hundred take hardly longer than five.

Entries that another program wrote lack the annotations that this takes: of those the manifest and the configuration are read.
"""

from __future__ import annotations

import re

from crate_engine.errors import ImageError, StoreError
from crate_engine.store import index
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.digest import Digest
    from crate_engine.reference import Reference
    from crate_engine.store.images import ImageStore

_ID = re.compile("[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listed:
    """What an image's `Image` has under the same names; `digest` is that of its manifest, `entries` are those of index.json."""

    id: str
    names: tuple[Reference, ...]
    created: str
    size: int
    digest: Digest
    entries: tuple[Descriptor, ...]

    @property
    def repo_digests(self) -> tuple[Reference, ...]:
        """Worked out when asked for, as most lists show none; there are none where an annotation of another program is no digest."""
        try:
            return index.repo_digests(list(self.entries))
        except ImageError:
            return ()


def of(images: ImageStore) -> list[Listed]:
    """In the order in which they came. An image that is to be read and cannot is left out. Raises StoreError for the index itself."""
    groups: dict[str, list[Descriptor]] = {}
    found: dict[str, Listed] = {}
    for entry in images.entries():
        groups.setdefault(str(entry.digest), []).append(entry)
    for entries in groups.values():
        try:
            listed = _annotated(entries) or _read(images, entries)
        except (ImageError, StoreError):
            continue
        first = found.get(listed.id)
        found[listed.id] = _joined(first, listed) if first else listed
    return list(found.values())


def _annotated(entries: list[Descriptor]) -> Listed | None:
    """From the annotations of all entries of one manifest; None where they lack something."""
    said: dict[str, str] = {}
    for entry in entries:
        said |= entry.annotations
    identity, created, size = (said.get(name, "") for name in (index.IDENTITY, index.CREATED, index.UNPACKED_SIZE))
    if index.CREATED not in said or not _ID.fullmatch(identity) or not (size.isascii() and size.isdigit()):
        return None
    names = tuple(reference for entry in entries if (reference := index.reference_of(entry)))
    return Listed(identity, names, created, int(size), entries[-1].digest, tuple(entries))


def _read(images: ImageStore, entries: list[Descriptor]) -> Listed:
    image = images.read(entries)
    return Listed(image.id, image.names, image.created, image.size, image.descriptor.digest, tuple(entries))


def _joined(first: Listed, second: Listed) -> Listed:
    """Two manifests of one configuration are one image: the same layers, compressed in another way."""
    return Listed(first.id, first.names + second.names, first.created, first.size, first.digest, first.entries + second.entries)
