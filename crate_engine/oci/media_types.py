"""Media types of OCI images and of docker's image format (image-spec media-types.md; docker's manifest schema 2)."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"

INDEXES = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIGS = frozenset({OCI_CONFIG, DOCKER_CONFIG})
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST)
"""What a registry is asked for, the most wanted first."""

_OCI_FOREIGN = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_DOCKER_TO_OCI = {
    DOCKER_LAYER: OCI_LAYER,
    DOCKER_LAYER + ".gzip": OCI_LAYER + "+gzip",
    DOCKER_LAYER + ".zstd": OCI_LAYER + "+zstd",
    # Non-distributable layers are fetched like any other; the addresses some of them carry are never followed.
    "application/vnd.docker.image.rootfs.foreign.diff.tar": _OCI_FOREIGN,
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": _OCI_FOREIGN + "+gzip",
    DOCKER_CONFIG: OCI_CONFIG,
    DOCKER_MANIFEST: OCI_MANIFEST,
}
LAYERS = frozenset(base + tail for base in (OCI_LAYER, _OCI_FOREIGN) for tail in ("", "+gzip", "+zstd")) | frozenset(
    name for name in _DOCKER_TO_OCI if ".diff.tar" in name
)


def to_oci(media_type: str) -> str:
    """The OCI name of what docker calls otherwise; any other type as it is."""
    return _DOCKER_TO_OCI.get(media_type, media_type)


def is_schema1(media_type: str) -> bool:
    """Docker's first manifest format, without digests of its own configuration; it is refused everywhere by now."""
    return media_type.startswith(_DOCKER_SCHEMA1)
