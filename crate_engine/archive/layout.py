"""Reading OCI image layouts (image-spec image-layout.md), whatever holds their files: which images are in one, and their documents and blobs."""

from __future__ import annotations

from crate_engine import limits
from crate_engine.archive.files import read
from crate_engine.errors import ImageError, ImageNotFound, InvalidReference
from crate_engine.oci import layout, media_types
from crate_engine.oci.platform import unknown
from crate_engine.reference import Reference
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crate_engine.archive.files import Files
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.digest import Digest
    from crate_engine.store.blobs import BlobWriter

CONTAINERD_NAME = "io.containerd.image.name"
"""The annotation in which docker and containerd keep full names; `ref.name` is then a tag alone."""


@dataclass(frozen=True, slots=True)
class Found:
    """An image of a layout, or an index of one for several platforms. `names` are full ones, none where it has only a tag, or nothing."""

    candidates: tuple[Descriptor, ...]
    """More than one where the layout lists an image's platforms itself, under one name."""
    names: tuple[Reference, ...]
    label: str
    """`ref.name` as it stands, or empty."""


class Layout:
    """Raises ImageError, on making it too, where the files are no layout of a known version."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.what = files.what
        layout.check_marker(read(files, layout.MARKER, limits.ERROR_BYTES))
        self.entries = layout.parse_index(read(files, layout.INDEX, limits.INDEX_FILE_BYTES))

    def images(self) -> list[Found]:
        """In the order of the index; entries of one digest are one image of several names."""
        groups: dict[object, list[Descriptor]] = {}
        for entry in self.entries:
            if entry.media_type not in media_types.MANIFESTS | media_types.INDEXES or _is_no_image(entry):
                continue
            groups.setdefault(_label(entry) or entry.digest, []).append(entry)
        merged: dict[tuple[Digest, ...], Found] = {}
        for entries in groups.values():
            key = tuple(dict.fromkeys(entry.digest for entry in entries))
            names = tuple(name for entry in entries[:1] if (name := _name(entry)))
            known = merged.get(key)
            label = entries[0].annotations.get(layout.REFERENCE_NAME, "")
            merged[key] = Found(tuple(entries), (known.names if known else ()) + names, known.label if known else label)
        return list(merged.values())

    def named(self, label: str | None) -> Found:
        """The one image, or that of this `ref.name` or full name. Raises ImageNotFound."""
        found = self.images()
        if label is not None:
            found = [one for one in found if label in (one.label, *map(str, one.names), *(name.familiar for name in one.names))]
        if len(found) != 1:
            known = ", ".join(sorted(filter(None, (one.label for one in self.images())))) or "none"
            cause = f"it has {len(found)} images" if label is None else f"it has no image {label!r}"
            raise ImageNotFound(f"{self.what}: {cause}", hint=f"names in it: {known}")
        return found[0]

    def document(self, descriptor: Descriptor) -> bytes:
        """A manifest, index or configuration, checked against its descriptor."""
        limit = limits.CONFIG_BYTES if descriptor.media_type in media_types.CONFIGS else limits.MANIFEST_BYTES
        content = read(self._files, layout.blob_path(descriptor.digest), limit)
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise ImageError(f"{self.what}: the content of blob {descriptor.digest} is another")
        return content

    def fetch(self, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        """For `transfer.bring`: the writer checks size and digest."""
        for block in self.blocks(descriptor, writer.offset):
            writer.write(block)
            on_piece(len(block))

    def blocks(self, descriptor: Descriptor, start: int = 0) -> Iterator[bytes]:
        return self._files.blocks(layout.blob_path(descriptor.digest), start)


def _is_no_image(entry: Descriptor) -> bool:
    """An attestation or another artifact that is about an image."""
    return bool(entry.artifact_type) or unknown(entry.platform) or "vnd.docker.reference.type" in entry.annotations


def _label(entry: Descriptor) -> str:
    """Programs that give an entry another `ref.name` may leave the full name behind that it had before: then that is none."""
    full, label = entry.annotations.get(CONTAINERD_NAME, ""), entry.annotations.get(layout.REFERENCE_NAME, "")
    return full if not label or full == label or full.endswith(f":{label}") else label


def _name(entry: Descriptor) -> Reference | None:
    """A tag alone is no name: which repository it belongs to, only who wrote the layout knows."""
    text = _label(entry)
    try:
        name = Reference.parse(text) if ":" in text or "/" in text else None
    except InvalidReference as error:
        raise ImageError(f"read {layout.INDEX}: {error}") from error
    return name if name is None or name.tag is None or name.digest is None else name.with_digest(name.digest)
