"""The entries of the store's index.json (image-spec image-layout.md) and what their annotations mean. Pure.

Each entry is one name, in the annotation `org.opencontainers.image.ref.name`; an entry without it is an image whose last tag moved on.
"""

from __future__ import annotations

from crate_engine.errors import ImageError, InvalidReference
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.oci.descriptor import Descriptor

RESOLVED = "crate.image.resolved"
"""Annotation: the digest that the registry gave for the name, of an index or of the manifest itself."""
ORIGINAL = "crate.image.original"
"""Annotation: the digest of the manifest that the registry sent, where that was docker's form of it; it is kept beside OCI's."""
UNPACKED_SIZE = "crate.image.unpacked-size"
IDENTITY = "crate.image.id"
"""Annotation: the image's id, so that looking one up need not read every manifest."""
CREATED = "crate.image.created"
"""Annotation: when the image was made, an RFC 3339 text or empty, so that a list of images reads index.json alone (`listing.py`)."""


def added(entries: tuple[Descriptor, ...], new: Descriptor) -> tuple[Descriptor, ...]:
    """The entries with a new one, whose name, if it has one, leaves the image that had it."""
    others = [_moved(entry, entries) if name_of(new) and name_of(entry) == name_of(new) else entry for entry in entries]
    kept = [entry for entry in others if entry is not None and (name_of(entry) or entry.digest != new.digest)]
    return (*kept, new)


def _moved(entry: Descriptor, entries: tuple[Descriptor, ...]) -> Descriptor | None:
    """What becomes of an entry whose name goes to another image: nothing if the image has a second entry, else one without a name."""
    if any(other is not entry and other.digest == entry.digest for other in entries):
        return None
    return entry.annotated(without_name(entry))


def without_name(entry: Descriptor) -> dict[str, str]:
    return {key: value for key, value in entry.annotations.items() if key in (UNPACKED_SIZE, IDENTITY, CREATED, ORIGINAL)}


def original_of(entries: list[Descriptor]) -> Digest | None:
    """Of entries of one manifest: docker's form that it was made from. None too where an annotation of another program is no digest."""
    for entry in reversed(entries):
        try:
            if text := entry.annotations.get(ORIGINAL):
                return Digest.parse(text, ORIGINAL)
        except ImageError:
            continue
    return None


def parsed(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


def by_name(entries: tuple[Descriptor, ...], reference: Reference | None) -> Descriptor | None:
    if reference is None:
        return None
    if reference.digest is None:
        return next((entry for entry in entries if name_of(entry) == str(reference)), None)
    for entry in entries:
        own = reference_of(entry)
        if (
            own
            and own.name == reference.name
            and str(reference.digest) in (str(entry.digest), entry.annotations.get(RESOLVED), str(own.digest))
        ):
            return entry
    return None


def name_of(entry: Descriptor) -> str:
    return entry.annotations.get(layout.REFERENCE_NAME, "")


def reference_of(entry: Descriptor) -> Reference | None:
    return parsed(name_of(entry)) if name_of(entry) else None


def repo_digests(entries: list[Descriptor]) -> tuple[Reference, ...]:
    found = {}
    for entry in entries:
        reference = reference_of(entry)
        if reference:
            digest = Digest.parse(entry.annotations.get(RESOLVED, str(entry.digest)), f"index.json: {RESOLVED}")
            found[str(reference.with_digest(digest))] = reference.with_digest(digest)
    return tuple(found.values())
