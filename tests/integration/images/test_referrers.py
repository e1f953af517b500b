"""What a registry has about an image: the referrers API, its pages, its stand-in by a tag, and a registry that has neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crate_engine.oci import media_types
from tests.integration.images.conftest import answer, digest, layer
from tests.integration.images.test_login import Caller

SBOM, SIGNATURE = "application/vnd.example.sbom", "application/vnd.example.signature"


@pytest.fixture
def crate(tmp_path: Any) -> Caller:
    (tmp_path / "runtime").mkdir()
    return Caller(tmp_path)


@pytest.fixture
def image(server: Any) -> str:
    made: str = server.image("app", "1", layers=[layer({"file": b""})])["digest"]
    return made


def entries(*types: str, start: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "mediaType": media_types.OCI_MANIFEST,
            "digest": digest(bytes([start + number])),
            "size": 1000,
            "artifactType": kind,
            "annotations": {"org.opencontainers.image.created": "2026-01-02T03:04:05Z"},
        }
        for number, kind in enumerate(types)
    ]


def index(found: list[dict[str, Any]]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": found}).encode()


def listed(crate: Caller, server: Any, *words: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in crate("image", "referrers", "--format", "json", *words, f"{server.host}/app:1").splitlines()
    ]


def test_the_artifacts_about_an_image_are_listed(server: Any, crate: Caller, image: str) -> None:
    found = entries(SBOM, SIGNATURE)
    server.documents[f"/v2/app/referrers/{image}"] = (media_types.OCI_INDEX, index(found))
    assert listed(crate, server) == found
    lines = crate("image", "referrers", f"{server.host}/app:1").splitlines()
    assert lines[0].split("  ")[0] == "DIGEST"
    assert [SBOM in lines[1], SIGNATURE in lines[2], len(lines)] == [True, True, 3]
    assert found[0]["digest"] in crate("image", "referrers", "--no-trunc", f"{server.host}/app@{image}")


def test_a_type_is_asked_for_and_what_a_registry_does_not_filter_is_left_out(server: Any, crate: Caller, image: str) -> None:
    path = f"/v2/app/referrers/{image}"
    server.documents[f"{path}?artifactType=application%2Fvnd.example.sbom"] = (
        media_types.OCI_INDEX,
        index(entries(SBOM, SIGNATURE)),
    )
    assert [one["artifactType"] for one in listed(crate, server, "--artifact-type", SBOM)] == [SBOM]


def test_a_registry_without_the_api_has_a_tag_in_its_stead(server: Any, crate: Caller, image: str) -> None:
    tag = image.replace(":", "-")
    server.documents[f"/v2/app/manifests/{tag}"] = (media_types.OCI_INDEX, index(entries(SBOM, SIGNATURE)))
    assert len(listed(crate, server)) == 2
    assert [one["artifactType"] for one in listed(crate, server, "--artifact-type", SIGNATURE)] == [SIGNATURE]


def test_without_both_there_are_none(server: Any, crate: Caller, image: str) -> None:
    assert listed(crate, server) == []
    assert len(crate("image", "referrers", f"{server.host}/app:1").splitlines()) == 1


def _pages(server: Any, image: str, count: int, target: str) -> None:
    def fault(request: Any) -> bool:
        path, _, query = request.path.partition("?")
        if path != f"/v2/app/referrers/{image}":
            return False
        page = int(query.removeprefix("page=") or 0)
        link = {"Link": f'<{target.format(page=page + 1)}>; rel="next"'} if page + 1 < count else {}
        answer(request, 200, index(entries(SBOM, start=page)), media_types.OCI_INDEX, **link)
        return True

    server.fault = fault


def test_a_list_of_several_pages_is_read_to_its_end(server: Any, crate: Caller, image: str) -> None:
    _pages(server, image, 3, f"/v2/app/referrers/{image}?page={{page}}")
    assert len(listed(crate, server)) == 3


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/v2/app/referrers/x?page={page}", "/v2/other/referrers/x?page={page}"])
def test_a_list_that_goes_on_elsewhere_is_an_error(server: Any, crate: Caller, image: str, target: str) -> None:
    _pages(server, image, 3, target)
    assert "somewhere else" in crate("image", "referrers", f"{server.host}/app:1", status=1)


def test_a_list_without_end_is_an_error(server: Any, crate: Caller, image: str) -> None:
    _pages(server, image, 1000, f"/v2/app/referrers/{image}?page={{page}}")
    assert "pages" in crate("image", "referrers", f"{server.host}/app:1", status=1)


@pytest.mark.parametrize(
    "content", [b"{}", b"[]", b'{"schemaVersion":2,"manifests":[{"digest":"sha256:../x","size":1,"mediaType":"a"}]}']
)
def test_what_is_no_list_is_an_error(server: Any, crate: Caller, image: str, content: bytes) -> None:
    server.documents[f"/v2/app/referrers/{image}"] = (media_types.OCI_INDEX, content)
    message = crate("image", "referrers", f"{server.host}/app:1", status=1)
    assert message.startswith("crate: error: ")


def test_what_it_says_cannot_write_to_a_terminal(server: Any, crate: Caller, image: str) -> None:
    server.documents[f"/v2/app/referrers/{image}"] = (media_types.OCI_INDEX, index(entries("application/x\x1b[2J")))
    assert "\x1b" not in crate("image", "referrers", f"{server.host}/app:1", status=None)


def test_an_image_that_is_not_there_is_named(server: Any, crate: Caller) -> None:
    assert "no such image" in crate("image", "referrers", f"{server.host}/app:2", status=1)
