"""Image manifests and indexes, OCI's and docker's (image-spec manifest.md, image-index.md).

A document has exactly one meaning: what its media type says, what the sender's header says and what fields it has must agree (CVE-2021-41190).
"""

from __future__ import annotations

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.strict_json import Fields, dump, parse, shown
from crate_engine.values import dataclass, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = frozenset(
    {"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations", "fsLayers"}
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, the lowest first. `subject` is another manifest that this one refers to."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    subject: Descriptor | None = None

    @classmethod
    def from_json(cls, raw: bytes, media_type: str | None = None) -> Manifest:
        """`media_type` is what the document was announced as. Raises ImageError, also when the document is an index."""
        document = parse_document(raw, media_type)
        if not isinstance(document, cls):
            raise ImageError("read manifest: it is an index of several images")
        return document

    def to_oci(self) -> bytes:
        """The same image as an OCI manifest. Docker's differs in the names of media types only, and readers of layouts look for OCI's."""
        blobs = [
            replace(blob, media_type=media_types.to_oci(blob.media_type)).to_object() for blob in (self.config, *self.layers)
        ]
        document: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": blobs[0],
            "layers": blobs[1:],
        }
        if self.subject:
            document["subject"] = self.subject.to_object()
        return dump(document | ({"annotations": self.annotations} if self.annotations else {}))


@dataclass(frozen=True, slots=True)
class Index:
    """Several images, usually of one program for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_json(cls, raw: bytes, media_type: str | None = None, *, limit: int = limits.MANIFEST_BYTES) -> Index:
        document = parse_document(raw, media_type, limit=limit)
        if not isinstance(document, cls):
            raise ImageError("read index: it is the manifest of one image")
        return document


def parse_document(raw: bytes, media_type: str | None = None, *, limit: int = limits.MANIFEST_BYTES) -> Manifest | Index:
    """A manifest or an index; `media_type` is what the sender called it, if anything. Raises ImageError."""
    document = parse(raw, "manifest", limit)
    fields = Fields(document, "manifest", _FIELDS)
    own_type = fields.text("mediaType", limit=255)
    if media_types.is_schema1(media_type or own_type) or "fsLayers" in document or fields.integer("schemaVersion") == 1:
        raise ImageError(
            "read manifest: docker's manifest schema 1 is not supported", hint="push the image again with a current tool"
        )
    if fields.integer("schemaVersion", required=True) != 2:
        raise ImageError("manifest.schemaVersion: must be 2")
    fields.text("artifactType", limit=255)
    if own_type and media_type and own_type != media_type:
        raise ImageError(f"read manifest: it calls itself {shown(own_type, 255)}, and was announced as {shown(media_type, 255)}")
    kind = own_type or media_type or (media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST)
    if kind in media_types.INDEXES:
        return _index(fields, document, kind)
    if kind in media_types.MANIFESTS:
        return _manifest(fields, document, kind)
    raise ImageError(f"read manifest: the media type {kind[:255]!r} is not one of an image")


def _index(fields: Fields, document: dict[str, Any], kind: str) -> Index:
    _refuse(document, ("layers", "config"), "an index")
    entries = fields.array("manifests", required=True, limit=limits.INDEX_ENTRIES)
    manifests = [
        Descriptor.from_object(entry, f"index: manifests[{place}]", limit=limits.MANIFEST_BYTES)
        for place, entry in enumerate(entries)
    ]
    _subject(fields)
    return Index(kind, tuple(manifests), fields.mapping("annotations"))


def _manifest(fields: Fields, document: dict[str, Any], kind: str) -> Manifest:
    _refuse(document, ("manifests",), "the manifest of one image")
    config = Descriptor.from_object(fields.members("config", required=True), "manifest: config", limit=limits.CONFIG_BYTES)
    if config.media_type not in media_types.CONFIGS:
        artifact = fields.text("artifactType", limit=255)
        raise ImageError(
            f"read manifest: {config.media_type!r} is no configuration of a container image"
            + (f": it is an artifact of the type {artifact!r}" if artifact else ""),
            hint="the name is that of another kind of artifact",
        )
    entries = fields.array("layers", required=True, limit=limits.LAYERS)
    layers = [Descriptor.from_object(entry, f"manifest: layers[{place}]") for place, entry in enumerate(entries)]
    for place, layer in enumerate(layers):
        if layer.media_type not in media_types.LAYERS:
            raise ImageError(f"manifest: layers[{place}].mediaType: {layer.media_type!r} is not supported")
    return Manifest(kind, config, tuple(layers), fields.mapping("annotations"), _subject(fields))


def _subject(fields: Fields) -> Descriptor | None:
    if not fields.has("subject"):
        return None
    return Descriptor.from_object(fields.members("subject"), "manifest: subject", limit=limits.MANIFEST_BYTES)


def _refuse(document: dict[str, Any], names: tuple[str, ...], meaning: str) -> None:
    for name in names:
        if name in document:
            raise ImageError(f"read manifest: it is {meaning} and yet has {name!r}")
