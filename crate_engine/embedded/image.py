"""Builds the embedded image as an OCI image layout: the same bytes, and so the same digests, on every machine.

See the image specification: layer.md, config.md, manifest.md, image-index.md and image-layout.md. The layer is not compressed, because the
output of a compressor differs between versions of its library.
"""

from __future__ import annotations

import io
import os
import tarfile
from typing import Any

from crate_engine.embedded import amd64, arm64, program
from crate_engine.oci import layout as oci_layout
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.platform import Platform
from crate_engine.oci.strict_json import dump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.embedded.machine import Machine

_MACHINES: tuple[Machine, ...] = (amd64, arm64)
_CREATED = "1970-01-01T00:00:00Z"
_FILES = (
    ("etc/passwd", b"root:x:0:0:root:/:/hello\nnobody:x:65534:65534:nobody:/:/hello\n"),
    ("etc/group", b"root:x:0:\nnogroup:x:65534:\n"),
)


def write(directory: str, name: str) -> None:
    """Write the layout into an existing, empty directory, with `name` as the name of its image. Raises OSError."""
    blobs: dict[Digest, bytes] = {}
    manifests = [_image(blobs, machine) for machine in _MACHINES]
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [manifest.to_object() for manifest in manifests],
    }
    entry = _blob(blobs, media_types.OCI_INDEX, dump(index)).annotated({oci_layout.REFERENCE_NAME: name})
    files = {oci_layout.blob_path(digest): content for digest, content in blobs.items()}
    files |= {oci_layout.MARKER: oci_layout.MARKER_CONTENT, oci_layout.INDEX: oci_layout.dump_index((entry,))}
    for path, content in files.items():
        target = os.path.join(directory, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "xb") as file:
            file.write(content)


def _image(blobs: dict[Digest, bytes], machine: Machine) -> Descriptor:
    platform = Platform.parse(f"linux/{machine.architecture}")
    layer = _blob(blobs, media_types.OCI_LAYER, _layer(program.executable(machine)))
    config = _blob(blobs, media_types.OCI_CONFIG, dump(_config(platform, layer.digest)))
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": config.to_object(),
        "layers": [layer.to_object()],
    }
    blob = _blob(blobs, media_types.OCI_MANIFEST, dump(manifest))
    return Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size, platform=platform)


def _config(platform: Platform, diff_id: Digest) -> dict[str, Any]:
    return {
        "created": _CREATED,
        **platform.to_object(),
        "config": {
            "Env": ["PATH=/"],
            "Entrypoint": ["/hello"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "hello",
                "org.opencontainers.image.description": "Tells what the kernel says about the container that it runs in",
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [str(diff_id)]},
        "history": [{"created": _CREATED, "created_by": "crate", "comment": "assembled by crate_engine.embedded"}],
    }


def _layer(executable: bytes) -> bytes:
    """A tar archive with the program, the two users that it knows and a directory for temporary files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add(tar, "etc", tarfile.DIRTYPE, 0o755)
        for path, content in _FILES:
            _add(tar, path, tarfile.REGTYPE, 0o644, content)
        _add(tar, "hello", tarfile.REGTYPE, 0o755, executable)
        _add(tar, "tmp", tarfile.DIRTYPE, 0o1777)
    return archive.getvalue()


def _add(tar: tarfile.TarFile, path: str, kind: bytes, mode: int, content: bytes = b"") -> None:
    entry = tarfile.TarInfo(path)  # owned by 0:0 and of 1970, unless told otherwise
    entry.type, entry.mode, entry.size = kind, mode, len(content)
    tar.addfile(entry, io.BytesIO(content))


def _blob(blobs: dict[Digest, bytes], media_type: str, content: bytes) -> Descriptor:
    digest = Digest.of(content)
    blobs[digest] = content
    return Descriptor(media_type=media_type, digest=digest, size=len(content))
