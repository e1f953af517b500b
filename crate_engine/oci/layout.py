"""The OCI image layout (image-spec image-layout.md): the names in it and its two documents. Reads and writes no file itself."""

from __future__ import annotations

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.manifest import Index
from crate_engine.oci.strict_json import Fields, dump, parse

MARKER = "oci-layout"
INDEX = "index.json"
REFERENCE_NAME = "org.opencontainers.image.ref.name"
MARKER_CONTENT = b'{"imageLayoutVersion":"1.0.0"}'


def blob_path(digest: Digest) -> str:
    """Relative to the layout's directory."""
    return f"blobs/{digest.algorithm}/{digest.hex}"


def check_marker(raw: bytes) -> None:
    """Raises ImageError where the file `oci-layout` is of a version that is not understood."""
    version = Fields(parse(raw, MARKER, limits.ERROR_BYTES), MARKER, frozenset({"imageLayoutVersion"})).text(
        "imageLayoutVersion", required=True
    )
    if version.split(".")[0] != "1":
        raise ImageError(f"read image layout: version {version[:64]!r} is not supported")


def parse_index(raw: bytes) -> tuple[Descriptor, ...]:
    return Index.from_json(raw, limit=limits.INDEX_FILE_BYTES).manifests


def dump_index(entries: tuple[Descriptor, ...]) -> bytes:
    return dump({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [entry.to_object() for entry in entries]})
