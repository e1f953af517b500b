"""Manifests and indexes: one meaning each, everything checked."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci import media_types
from crate_engine.oci.manifest import Index, Manifest, parse_document
from crate_engine.validate import validate

HEX = "0123456789abcdef" * 4


def descriptor(media_type: str, size: int = 10, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{HEX}", "size": size, **more}


def manifest(docker: bool = False) -> dict[str, Any]:
    layer = media_types.DOCKER_LAYER + ".gzip" if docker else media_types.OCI_LAYER + "+gzip"
    return {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST,
        "config": descriptor(media_types.DOCKER_CONFIG if docker else media_types.OCI_CONFIG),
        "layers": [descriptor(layer), descriptor(layer, annotations={"a": "b"})],
    }


def index(docker: bool = False) -> dict[str, Any]:
    kind = media_types.DOCKER_MANIFEST if docker else media_types.OCI_MANIFEST
    return {
        "schemaVersion": 2,
        "mediaType": media_types.DOCKER_INDEX if docker else media_types.OCI_INDEX,
        "manifests": [descriptor(kind, platform={"os": "linux", "architecture": "arm64", "variant": "v8"})],
    }


def raw(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize("docker", [False, True])
def test_manifests_of_both_formats_are_read(docker: bool) -> None:
    document = Manifest.from_json(raw(manifest(docker)), manifest(docker)["mediaType"])
    assert len(document.layers) == 2
    assert document.layers[1].annotations == {"a": "b"}
    assert document.config.digest.hex == HEX


@pytest.mark.parametrize("docker", [False, True])
def test_indexes_of_both_formats_are_read(docker: bool) -> None:
    document = Index.from_json(raw(index(docker)))
    assert str(document.manifests[0].platform) == "linux/arm64"


def test_the_media_type_may_come_from_the_sender_alone_or_from_the_fields() -> None:
    for make, kind in ((manifest, Manifest), (index, Index)):
        document = make()
        media_type = document.pop("mediaType")
        assert isinstance(parse_document(raw(document), media_type), kind)
        assert isinstance(parse_document(raw(document)), kind)


def test_dockers_manifest_in_ocis_form_is_the_same_image() -> None:
    original = Manifest.from_json(raw(manifest(docker=True)))
    written = original.to_oci()
    converted = Manifest.from_json(written, media_types.OCI_MANIFEST)
    assert [layer.media_type for layer in converted.layers] == [media_types.OCI_LAYER + "+gzip"] * 2
    assert [(layer.digest, layer.size) for layer in converted.layers] == [(layer.digest, layer.size) for layer in original.layers]
    assert converted.config.media_type == media_types.OCI_CONFIG
    assert validate(json.loads(written), "image/manifest") == []


def _changed(document: dict[str, Any], changes: dict[str, Any]) -> bytes:
    for path, value in changes.items():
        *above, last = path.split(".")
        place: Any = document
        for part in above:
            place = place[int(part)] if part.isdigit() else place[part]
        if value is DELETE:
            del place[last]
        else:
            place[last] = value
    return raw(document)


DELETE = object()
BAD_MANIFESTS: list[dict[str, Any]] = [
    {"manifests": []},
    {"fsLayers": []},
    {"schemaVersion": 1},
    {"schemaVersion": 3},
    {"schemaVersion": "2"},
    {"schemaVersion": True},
    {"schemaVersion": DELETE},
    {"mediaType": media_types.OCI_INDEX},
    {"mediaType": "application/json"},
    {"mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
    {"mediaType": 1},
    {"config": DELETE},
    {"config": None},
    {"config": []},
    {"config.mediaType": "application/vnd.cncf.helm.config.v1+json"},
    {"config.mediaType": DELETE},
    {"config.digest": "sha256:../../x"},
    {"config.digest": f"sha256:{HEX.upper()}"},
    {"config.digest": DELETE},
    {"config.size": -1},
    {"config.size": "10"},
    {"config.size": 1.5},
    {"config.size": True},
    {"config.size": limits.CONFIG_BYTES + 1},
    {"config.size": DELETE},
    {"Config": {}},
    {"config.Digest": "x"},
    {"layers": DELETE},
    {"layers": {}},
    {"layers": [None]},
    {"layers": [descriptor("application/octet-stream")]},
    {"layers": [descriptor(media_types.OCI_LAYER + "+xz")]},
    {"layers": [descriptor(media_types.OCI_LAYER)] * (limits.LAYERS + 1)},
    {"layers.0.digest": f"sha512:{HEX}"},
    {"layers.0.size": limits.BLOB_BYTES + 1},
    {"layers.0.annotations": {"a": 1}},
    {"layers.0.annotations": []},
    {"annotations": {"a": None}},
]
BAD_INDEXES: list[dict[str, Any]] = [
    {"layers": []},
    {"config": {}},
    {"mediaType": media_types.OCI_MANIFEST},
    {"manifests": DELETE},
    {"manifests": None},
    {"manifests.0.size": limits.MANIFEST_BYTES + 1},
    {"manifests.0.digest": "sha256:"},
    {"manifests.0.platform": "linux/amd64"},
    {"manifests.0.platform": {"os": 1}},
    {"manifests": [descriptor(media_types.OCI_MANIFEST)] * (limits.INDEX_ENTRIES + 1)},
]


@pytest.mark.parametrize("changes", BAD_MANIFESTS, ids=str)
def test_wrong_manifests_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        Manifest.from_json(_changed(manifest(), changes))


@pytest.mark.parametrize("changes", BAD_INDEXES, ids=str)
def test_wrong_indexes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        Index.from_json(_changed(index(), changes))


def test_the_announced_type_must_be_the_documents_own() -> None:
    with pytest.raises(ImageError, match="announced as"):
        parse_document(raw(manifest()), media_types.DOCKER_MANIFEST)
    with pytest.raises(ImageError, match="announced as"):
        parse_document(raw(manifest()), media_types.OCI_INDEX)


def test_schema_1_is_named() -> None:
    with pytest.raises(ImageError, match="schema 1"):
        parse_document(b'{"schemaVersion":1,"fsLayers":[]}', "application/vnd.docker.distribution.manifest.v1+json")


def test_limits_hold_exactly() -> None:
    document = manifest()
    document["layers"] = [descriptor(media_types.OCI_LAYER)] * limits.LAYERS
    document["config"]["size"] = limits.CONFIG_BYTES
    assert len(Manifest.from_json(raw(document)).layers) == limits.LAYERS


def test_random_changes_raise_nothing_but_image_errors() -> None:
    generator = random.Random(11)
    original = bytearray(raw(manifest()))
    values: list[Any] = [None, 0, -1, 2**70, 1.5, "", "x", [], {}, [[]], {"a": {}}, True]
    for _ in range(3000):
        document = manifest() if generator.random() < 0.7 else index()
        target: Any = document
        while isinstance(target, (dict, list)) and target and generator.random() < 0.8:
            key = generator.choice(list(target)) if isinstance(target, dict) else generator.randrange(len(target))
            if generator.random() < 0.4:
                target[key] = generator.choice(values)
                break
            target = target[key]
        changed = bytearray(original)
        changed[generator.randrange(len(changed))] = generator.randrange(256)
        for candidate in (raw(document), bytes(changed)):
            try:
                parse_document(candidate)
            except ImageError:
                continue
