"""From the document of a name through indexes to an image, with documents that are given by a dictionary."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crate_engine import limits, resolving
from crate_engine.errors import ImageError, PlatformNotOffered
from crate_engine.intake import Resolved
from crate_engine.oci import media_types
from crate_engine.oci.digest import Digest
from crate_engine.oci.platform import Platform

AMD64, ARM64 = {"os": "linux", "architecture": "amd64"}, {"os": "linux", "architecture": "arm64"}


class Documents(dict[Digest, bytes]):
    """What a registry or a layout has; `asked` are the digests that were read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Digest] = []

    def add(self, document: dict[str, Any]) -> dict[str, Any]:
        """Returns its descriptor."""
        raw = json.dumps(document).encode()
        self[Digest.of(raw)] = raw
        return {"mediaType": document.get("mediaType", media_types.OCI_CONFIG), "digest": str(Digest.of(raw)), "size": len(raw)}

    def image(self, own: dict[str, str], **more: Any) -> dict[str, Any]:
        config = self.add(own | {"rootfs": {"type": "layers", "diff_ids": []}})
        return self.add({"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "config": config, "layers": []}) | more

    def index(self, *entries: dict[str, Any]) -> dict[str, Any]:
        return self.add({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries)})

    def resolve(self, descriptor: dict[str, Any], platform: str = "linux/amd64") -> Resolved:
        def read(entry: Any) -> bytes:
            self.asked.append(entry.digest)
            return self[entry.digest]

        digest = Digest.parse(descriptor["digest"])
        return resolving.resolve(
            self[digest], None, digest, manifest=read, config=read, platform=Platform.parse(platform), what="pull x"
        )


@pytest.fixture
def documents() -> Documents:
    return Documents()


def test_an_index_leads_to_the_image_of_the_platform_and_no_other_is_read(documents: Documents) -> None:
    amd64, arm64 = documents.image(AMD64, platform=AMD64), documents.image(ARM64, platform=ARM64)
    index = documents.index(documents.index(amd64, arm64) | {"platform": ARM64}, amd64)
    found = documents.resolve(index, "linux/arm64")
    assert (str(found.digest), str(found.original)) == (index["digest"], arm64["digest"])
    assert str(found.config.platform).startswith("linux/arm64")
    assert Digest.parse(amd64["digest"]) not in documents.asked


def test_the_only_image_among_artifacts_needs_no_platform(documents: Documents) -> None:
    plain = documents.image(AMD64)
    signature = documents.image(AMD64, artifactType="application/vnd.example.signature")
    attestation = documents.image(AMD64, platform={"os": "unknown", "architecture": "unknown"})
    assert str(documents.resolve(documents.index(signature, attestation, plain)).original) == plain["digest"]
    with pytest.raises(PlatformNotOffered, match="pull x: there is no image for linux/amd64"):
        documents.resolve(documents.index(plain, documents.image(ARM64)))
    with pytest.raises(PlatformNotOffered) as refused:
        documents.resolve(documents.index(plain, documents.image(ARM64, platform=ARM64)))
    assert "offered are: linux/arm64" in (refused.value.hint or "")


def test_the_image_itself_must_be_for_the_platform(documents: Documents) -> None:
    with pytest.raises(PlatformNotOffered, match="pull x: the image is for linux/arm64"):
        documents.resolve(documents.index(documents.image(ARM64, platform=AMD64)))


def test_a_document_of_another_size_is_refused(documents: Documents) -> None:
    entry = documents.image(AMD64, platform=AMD64)
    with pytest.raises(ImageError, match=f"pull x: manifest {entry['digest']} has"):
        documents.resolve(documents.index(entry | {"size": entry["size"] + 1}))


def test_indexes_are_nested_to_a_limit(documents: Documents) -> None:
    entry = documents.image(AMD64, platform=AMD64)
    for _ in range(limits.INDEX_NESTING):
        entry = documents.index(entry) | {"platform": AMD64}
    assert documents.resolve(entry).config.architecture == "amd64"
    with pytest.raises(ImageError, match="nested too deeply"):
        documents.resolve(documents.index(documents.index(entry) | {"platform": AMD64}))


def test_what_is_wrong_in_a_document_is_told_with_the_name_of_the_image(documents: Documents) -> None:
    with pytest.raises(ImageError, match=r"pull x: manifest\.schemaVersion: must be 2"):
        documents.resolve(documents.add({"schemaVersion": 3, "mediaType": media_types.OCI_INDEX, "manifests": []}))
