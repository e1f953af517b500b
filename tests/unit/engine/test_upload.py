"""Where an upload may be led, and what a registry says it has of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from crate_engine.errors import RegistryError
from crate_engine.registry.transport import Response
from crate_engine.registry.upload import Repository, _received


def response(url: str, **headers: str) -> Response:
    return Response(202, headers, url, lambda count: b"", lambda: None)


@pytest.fixture
def repository() -> Repository:
    session: Any = SimpleNamespace(registry="example.test")
    return Repository(session, "a/b", "push a/b:1")


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        (
            "https://example.test/v2/a/b/blobs/uploads/",
            "/v2/a/b/blobs/uploads/1?s=x",
            "https://example.test/v2/a/b/blobs/uploads/1?s=x",
        ),
        ("https://example.test/v2/", "https://storage.example.test/x", "https://storage.example.test/x"),
        ("http://127.0.0.1:5000/v2/", "https://example.test/x", "https://example.test/x"),
    ],
)
def test_an_upload_may_go_on_elsewhere(repository: Repository, url: str, location: str, target: str) -> None:
    assert repository._location(response(url, location=location)) == target


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "http://example.test/x", "https://me:secret@example.test/", "https://[::1/", "https://x:99999/"],
)
def test_an_upload_is_not_led_astray(repository: Repository, location: str) -> None:
    with pytest.raises(RegistryError):
        repository._location(response("https://example.test/v2/", location=location))


@pytest.mark.parametrize(
    ("text", "count"),
    [("0-99", 100), ("bytes=0-0", 1), ("", None), ("5-9", None), ("0-", None), ("0-x", None), ("0-" + "9" * 30, None)],
)
def test_what_a_registry_has_by_its_own_account(text: str, count: int | None) -> None:
    assert _received(response("https://example.test/", range=text)) == count
