"""Every form of image that registries hold: indexes with attestations, layers that can also be read in parts, artifacts, docker's first format."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crate_engine.oci import media_types
from tests.integration.images.conftest import layer

FILES = {"etc/": b"", "etc/name": b"content", "large": bytes(range(256)) * 4000}
PLATFORM = {"os": "linux", "architecture": "amd64"}


def estargz(plain: bytes) -> bytes:
    """A gzip member for each piece, one for the table of contents, and the footer: an empty member whose extra field tells where that one is."""
    pieces = [plain[at : at + 300_000] for at in range(0, len(plain), 300_000)]
    body = b"".join(gzip.compress(piece, 6, mtime=0) for piece in pieces)
    extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % len(body)
    footer = (
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra + b"\x01\0\0\xff\xff" + struct.pack("<II", 0, 0)
    )
    assert len(footer) == 51
    assert zlib.decompressobj(31).decompress(footer) == b""
    return body + footer


def zstd(plain: bytes) -> bytes:
    if shutil.which("zstd") is None:
        pytest.skip("needs zstd")
    return subprocess.run(["zstd", "-qc"], input=plain, stdout=subprocess.PIPE, check=True).stdout


def zstd_chunked(plain: bytes) -> bytes:
    """Frames for the pieces, a skippable frame with the table of contents, and one with the footer that tells where it is."""
    body = b"".join(zstd(plain[at : at + 300_000]) for at in range(0, len(plain), 300_000))
    table = zstd(b'{"version":1,"entries":[]}')
    footer = struct.pack("<QQQQ", len(body) + 8, len(table), 26, 1) + bytes(24) + b"GNUlInUx"
    return body + b"".join(b"\x50\x2a\x4d\x18" + struct.pack("<I", len(part)) + part for part in (table, footer))


@pytest.mark.parametrize("pack", [estargz, zstd, zstd_chunked, bytes], ids=["estargz", "zstd", "zstd:chunked", "plain"])
@pytest.mark.parametrize("media", ["OCI", "docker"])
def test_a_layer_of_any_form_is_read_as_a_whole(server: Any, puller: Any, pack: Callable[[bytes], bytes], media: str) -> None:
    plain = layer(FILES)
    base = media_types.OCI_LAYER if media == "OCI" else media_types.DOCKER_LAYER
    tail = {"estargz": "gzip", "zstd": "zstd", "zstd_chunked": "zstd", "bytes": ""}[pack.__name__]
    descriptor = server.image("app", layers=[plain], docker=media != "OCI", compress=pack)
    manifest = json.loads(server.documents[f"/v2/app/manifests/{descriptor['digest']}"][1])
    manifest["layers"][0]["mediaType"] = base + (("+" if media == "OCI" else ".") + tail if tail else "")
    manifest["layers"][0]["annotations"] = {"containerd.io/snapshot/stargz/toc.digest": "sha256:" + "0" * 64}
    server.manifest("app", manifest, "1")
    found = puller.pulled(f"{server.host}/app:1")
    directory = Path(found["layers"][0])
    assert (directory / "etc/name").read_bytes() == b"content"
    assert (directory / "large").read_bytes() == FILES["large"]


def test_a_layer_with_something_behind_its_end_is_refused(server: Any, puller: Any) -> None:
    plain = layer(FILES)
    server.image("app", "1", layers=[plain], compress=lambda content: gzip.compress(content) + b"garbage")
    puller.refused(f"{server.host}/app:1", "LayerError")


def _attestation(server: Any, subject: dict[str, Any]) -> dict[str, Any]:
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {"mediaType": media_types.OCI_CONFIG, **server.blob("app", b'{"architecture":"unknown","os":"unknown"}')},
        "layers": [{"mediaType": "application/vnd.in-toto+json", **server.blob("app", b"{}")}],
    }
    annotations = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject["digest"]}
    return {
        **server.manifest("app", document),
        "annotations": annotations,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }


def _index(server: Any, *entries: dict[str, Any], tag: str = "1") -> None:
    server.manifest("app", {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries)}, tag)


def test_attestations_in_an_index_are_passed_over(server: Any, puller: Any) -> None:
    image = server.image("app", layers=[layer(FILES)])
    _index(server, _attestation(server, image), {**image, "platform": PLATFORM}, _attestation(server, image))
    assert puller.pulled(f"{server.host}/app:1", platform="linux/amd64")["platform"] == "linux/amd64"
    _index(server, _attestation(server, image), tag="none")
    found = puller.pull(f"{server.host}/app:none", platform="linux/amd64")
    assert found["error"] == "PlatformNotOffered"
    assert "unknown" not in found["hint"]


def test_artifacts_in_an_index_are_passed_over(server: Any, puller: Any) -> None:
    image = server.image("app", layers=[layer(FILES)])
    artifact = {**_attestation(server, image), "artifactType": "application/vnd.example.sbom"}
    del artifact["platform"], artifact["annotations"]
    _index(server, artifact, image)
    assert puller.pulled(f"{server.host}/app:1", platform="linux/amd64")["platform"] == "linux/amd64"


ARTIFACTS = {
    "a chart": ("application/vnd.cncf.helm.config.v1+json", ""),
    "with an artifact type": ("application/vnd.oci.empty.v1+json", "application/vnd.example.thing"),
    "a module": ("application/vnd.wasm.config.v0+json", ""),
}


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_what_is_no_image_is_refused_by_its_name(server: Any, puller: Any, kind: str) -> None:
    config, artifact_type = ARTIFACTS[kind]
    document = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": {"mediaType": config, **server.blob("app", b"{}")},
        "layers": [{"mediaType": "application/octet-stream", **server.blob("app", b"x")}],
    }
    server.manifest("app", document | ({"artifactType": artifact_type} if artifact_type else {}), "1")
    found = puller.pull(f"{server.host}/app:1")
    assert found["error"] == "ImageError"
    assert f"{server.host}/app:1" in found["message"]
    assert (artifact_type or config) in found["message"]
    assert "artifact" in found["hint"]


SCHEMA1 = {"schemaVersion": 1, "name": "app", "tag": "1", "architecture": "amd64", "fsLayers": [], "history": []}


@pytest.mark.parametrize("kind", ["", ".v1+json", ".v1+prettyjws"])
def test_dockers_first_format_is_refused_with_the_next_step(server: Any, puller: Any, kind: str) -> None:
    media_type = f"application/vnd.docker.distribution.manifest{kind}" if kind else "application/json"
    server.documents["/v2/app/manifests/1"] = (media_type, json.dumps(SCHEMA1).encode())
    found = puller.pull(f"{server.host}/app:1")
    assert found["error"] == "ImageError"
    assert "schema 1" in found["message"]
    assert "push the image again" in found["hint"]


def test_a_tag_beside_a_digest_says_nothing(server: Any, puller: Any) -> None:
    old = server.image("app", "1", layers=[layer({"file": b"old"})])
    server.image("app", "1", layers=[layer({"file": b"new"})])
    found = puller.pulled(f"{server.host}/app:1@{old['digest']}")
    assert Path(found["layers"][0], "file").read_bytes() == b"old"
    assert found["names"] == [f"{server.host}/app@{old['digest']}"]
    assert not [path for path, _ in server.log if path.endswith("/manifests/1")]
