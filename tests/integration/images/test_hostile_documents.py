"""Manifests, indexes and configurations that a hostile registry sends: refused before anything else is asked for or written, and their look-alikes pulled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crate_engine.oci import media_types
from tests.integration.images.conftest import digest, layer
from tests.support import broken_images
from tests.support.broken_images import DIGEST, HEX

PLATFORM = {"os": "linux", "architecture": "amd64"}
BAD = [
    *(
        "sha256:../../../../etc/passwd",
        f"sha256:{HEX}/../../{HEX}",
        f"sha256:{HEX.upper()}",
        f"sha256:{HEX[:63]}",
        f"md5:{HEX[:32]}",
    ),
    *(f"sha256-{HEX}", f"sha256:{HEX}?x=y", f"sha256:{HEX}#", f"sha256:{HEX}@{DIGEST}", ""),
]


def _files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_relative_to(root / "locks")}


def _announced(server: Any, repository: str, raw: bytes, kind: str, tag: str = "1") -> None:
    for name in (tag, digest(raw)):
        server.documents[f"/v2/{repository}/manifests/{name}"] = (kind, raw)


@pytest.mark.parametrize("place", ["config", "layers", "subject", "manifests", "diff_ids"])
def test_a_digest_that_is_none_leads_to_no_request_and_no_file(server: Any, puller: Any, place: str) -> None:
    for tag, text in enumerate(BAD):
        entry = server.image("app", layers=[layer({"f": b"x"})], diff_ids=[text] if place == "diff_ids" else None)
        kind, raw = server.documents[f"/v2/app/manifests/{entry['digest']}"]
        document = json.loads(raw)
        if place in ("config", "layers"):
            (document["config"] if place == "config" else document["layers"][0])["digest"] = text
        elif place == "subject":
            document["subject"] = {**entry, "digest": text}
        elif place == "manifests":
            kind = media_types.OCI_INDEX
            document = {"schemaVersion": 2, "mediaType": kind, "manifests": [{**entry, "digest": text, "platform": PLATFORM}]}
        _announced(server, "app", json.dumps(document).encode(), kind, str(tag))
    puller.pull("127.0.0.1:1/none:1")  # makes the store
    before = _files(puller.root)
    found = puller.pull_all(*(f"{server.host}/app:{tag}" for tag in range(len(BAD))))
    assert [(one.get("error"), "digest" in one.get("message", "")) for one in found] == [("ImageError", True)] * len(BAD)
    assert len(server.requests("/v2/app/")) == (2 if place == "diff_ids" else 1) * len(BAD)
    assert _files(puller.root) == before


@pytest.mark.parametrize("kind", ["an index that contains itself", "two indexes that contain each other"])
def test_indexes_in_a_circle_are_refused(server: Any, puller: Any, kind: str) -> None:
    """No honest digest can be in its own document: the registry lies, and is found out at the first step."""
    names = ["1"] if kind == "an index that contains itself" else ["1", "2"]
    digests = [digest(name.encode()) for name in names]
    documents = [
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": media_types.OCI_INDEX,
                "manifests": [
                    {"mediaType": media_types.OCI_INDEX, "digest": digests[-place - 1], "size": 10, "platform": PLATFORM}
                ],
            }
        ).encode()
        for place in range(len(names))
    ]
    for place, raw in enumerate(documents):
        for name in (names[place], digests[place]):
            server.documents[f"/v2/app/manifests/{name}"] = (media_types.OCI_INDEX, raw)
    puller.refused(f"{server.host}/app:1", "DigestMismatch", platform="amd64")
    assert len(server.requests("/manifests/")) <= 3


@pytest.mark.parametrize(("levels", "error"), [(1, ""), (4, ""), (5, "ImageError"), (10, "ImageError")])
def test_indexes_in_indexes_are_read_to_the_fourth_level(server: Any, puller: Any, levels: int, error: str) -> None:
    entry = server.image("app", layers=[layer({"f": b"x"})])
    for _ in range(levels):
        raw = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": [{**entry, "platform": PLATFORM}]}
        entry = server.manifest("app", raw, "1")
    found = puller.pull(f"{server.host}/app:1", platform="amd64")
    assert found.get("error", "") == error
    assert len(server.requests("/manifests/")) <= 6
    puller.check()


def test_documents_of_the_table_mean_the_same_when_they_come_from_a_registry(server: Any, puller: Any) -> None:
    """Those that are refused: of the others the registry would have to have the blobs."""
    entries = [entry for entry in broken_images.load("documents") if "error" in entry]
    for tag, entry in enumerate(entries):
        good = broken_images.GOOD[entry["of"]]
        sent = entry.get("sent", "")
        kind = broken_images.TYPES.get(sent, sent) or str(good["mediaType"])
        _announced(server, "app", broken_images.document(entry, good), kind, str(tag))
    found = puller.pull_all(*(f"{server.host}/app:{tag}" for tag in range(len(entries))))
    wrong = [broken_images.describe(entry) for entry, one in zip(entries, found, strict=True) if one.get("error") != "ImageError"]
    assert not wrong, "\n".join(wrong)
    assert len(server.requests("/v2/app/")) == len(entries)
    assert puller.layer_count() == 0


def test_the_index_decides_what_a_document_is_taken_for(server: Any, puller: Any) -> None:
    """The same bytes as a manifest and as an index would be two images: what the index announces counts, and must be what the document says."""
    entry = server.image("app", layers=[layer({"f": b"x"})])
    for announced, error in (
        (media_types.OCI_INDEX, "ImageError"),
        (media_types.DOCKER_MANIFEST, "ImageError"),
        (entry["mediaType"], ""),
    ):
        top = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX}
        server.manifest("app", {**top, "manifests": [{**entry, "mediaType": announced, "platform": PLATFORM}]}, "1")
        assert puller.pull(f"{server.host}/app:1", platform="amd64").get("error", "") == error


def test_a_size_that_lies_is_found_out(server: Any, puller: Any) -> None:
    for place in ("config", "layers"):
        for change in (-1, 1):
            entry = server.image("app", layers=[layer({"f": b"x" * 5000})])
            document = json.loads(server.documents[f"/v2/app/manifests/{entry['digest']}"][1])
            descriptor = document["config"] if place == "config" else document["layers"][0]
            descriptor["size"] += change
            server.manifest("app", document, "1")
            found = puller.pull(f"{server.host}/app:1")
            assert found["error"] in ("DigestMismatch", "ImageError", "RegistryError", "RegistryUnreachable"), (
                place,
                change,
                found,
            )
            puller.check()
    assert puller.layer_count() == 0
