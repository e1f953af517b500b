"""Descriptors (image-spec descriptor.md): media type, digest and size of a document or blob elsewhere."""

from __future__ import annotations

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci.digest import Digest
from crate_engine.oci.platform import Platform
from crate_engine.oci.strict_json import Fields
from crate_engine.values import dataclass, field, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = frozenset({"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"})


@dataclass(frozen=True, slots=True)
class Descriptor:
    """`size` is in bytes. `urls` and embedded `data` are not kept: content comes from the registry it was asked from, and nowhere else."""

    media_type: str
    digest: Digest
    size: int
    annotations: dict[str, str] = field(default_factory=dict, hash=False)
    platform: Platform | None = None
    artifact_type: str = ""

    @classmethod
    def from_object(cls, document: object, where: str, *, limit: int = limits.BLOB_BYTES) -> Descriptor:
        """Raises ImageError; a size above `limit` is refused here, before anything is fetched."""
        fields = Fields(document, where, _FIELDS)
        size = fields.integer("size", required=True)
        if size is None or size > limit:
            raise ImageError(f"{where}.size: {size} bytes are more than the {limit} allowed")
        fields.texts("urls")
        fields.text("data")
        return cls(
            media_type=fields.text("mediaType", required=True, limit=255),
            digest=Digest.parse(fields.text("digest", required=True, limit=256), f"{where}.digest"),
            size=size,
            annotations=fields.mapping("annotations"),
            platform=Platform.from_object(fields.members("platform"), f"{where}.platform") if fields.has("platform") else None,
            artifact_type=fields.text("artifactType", limit=255),
        )

    def to_object(self) -> dict[str, Any]:
        document: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.platform:
            document["platform"] = self.platform.to_object()
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = self.annotations
        return document

    def annotated(self, annotations: dict[str, str]) -> Descriptor:
        """The same descriptor with these annotations instead of its own."""
        return replace(self, annotations=annotations)
