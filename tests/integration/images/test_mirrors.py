"""Pulling by registries.conf: mirrors, blocked registries, aliases, searches. Every registry is a server of the test's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.images.conftest import answer, layer

NAME = "registry.invalid/team/app:1"  # no such host: what is pulled comes from elsewhere
LAYERS = [layer({"file": b"content"}), layer({"large": bytes(range(256)) * 8000})]


@pytest.fixture
def mirror(server: Any) -> Iterator[Any]:
    """A second server with nothing in it."""
    made = type(server)()
    yield made
    made.close()


def said(request: Any, status: int, content: bytes = b"{}", **headers: str) -> bool:
    answer(request, status, content, **headers)
    return True


def configure(puller: Any, text: str) -> None:
    directory = puller.root.parent / ".config/containers"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "registries.conf").write_text(text)


def mirrored(*hosts: str, origin: str = "registry.invalid", **more: str) -> str:
    lines = ["[[registry]]", 'prefix = "registry.invalid"', f'location = "{origin}"']
    for host in hosts:
        lines += [
            "[[registry.mirror]]",
            f'location = "{host}"',
            *(f'{key.replace("_", "-")} = "{value}"' for key, value in more.items()),
        ]
    return "\n".join(lines) + "\n"


def test_an_image_comes_from_its_mirror_and_keeps_its_name(server: Any, puller: Any) -> None:
    descriptor = server.image("mirrored/team/app", "1", layers=LAYERS)
    configure(puller, mirrored(f"{server.host}/mirrored"))
    found = puller.pulled(NAME)
    assert found["names"] == [NAME]
    assert found["repo_digests"] == [f"registry.invalid/team/app@{descriptor['digest']}"]
    server.log.clear()
    puller.pulled(NAME)
    assert [path for path, _ in server.log] == ["/v2/mirrored/team/app/manifests/1"]


@pytest.mark.parametrize("how", ["absent", "unreachable", "broken", "denied", "wrong digest", "rate limited"])
def test_a_mirror_that_fails_is_passed_over(server: Any, mirror: Any, puller: Any, how: str) -> None:
    server.image("team/app", "1", layers=LAYERS)
    host = mirror.host if how != "unreachable" else "127.0.0.1:1"
    status = {"broken": 500, "denied": 403, "rate limited": 429}.get(how)
    if status:
        mirror.fault = lambda request: said(request, status, b"{}")
    if how == "wrong digest":
        mirror.image("team/app", "1", layers=LAYERS)
        mirror.fault = lambda request: (
            "/manifests/" in request.path
            and (said(request, 200, mirror.documents[request.path][1], **{"Docker-Content-Digest": "sha256:" + "0" * 64}))
        )
    configure(puller, mirrored(host, origin=server.host))
    assert puller.pulled(NAME)["names"] == [NAME]


def test_when_all_fail_the_error_tells_of_all(server: Any, mirror: Any, puller: Any) -> None:
    mirror.fault = lambda request: said(
        request, 429, b"{}", **{"ratelimit-remaining": "0;w=21600", "ratelimit-limit": "100;w=21600"}
    )
    configure(puller, mirrored(mirror.host, origin=server.host))
    message = puller.refused(NAME, "ImageNotFound")
    assert f"{server.host} has no such image" in message
    assert f"mirror {mirror.host}: " in message
    assert "0 of 100 requests remain in 6 hours" in message


def test_a_blob_that_a_mirror_lacks_comes_from_the_registry(server: Any, mirror: Any, puller: Any) -> None:
    server.image("team/app", "1", layers=LAYERS)
    mirror.documents = {path: document for path, document in server.documents.items() if "/blobs/" not in path}
    configure(puller, mirrored(mirror.host, origin=server.host))
    puller.pulled(NAME)
    assert server.requests("/blobs/")
    assert not server.requests("/manifests/")


def test_a_blob_that_breaks_off_at_a_mirror_is_continued_at_the_registry(server: Any, mirror: Any, puller: Any) -> None:
    server.image("team/app", "1", layers=LAYERS, compress=lambda content: content)
    mirror.documents = server.documents

    def cut(request: Any) -> bool:
        content = server.documents[request.path][1]
        if "/blobs/" not in request.path or len(content) < 1_000_000:
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start == 0:
            request.wfile.write(content[:700_000])
        request.wfile.flush()
        request.close_connection = True
        request.connection.shutdown(2)
        return True

    mirror.fault = cut
    configure(puller, mirrored(mirror.host, origin=server.host))
    puller.pulled(NAME)
    ranges = [headers["Range"] for headers in server.requests("/blobs/") if "Range" in headers]
    assert ranges


def test_a_mirror_for_digests_alone_is_not_asked_for_a_tag(server: Any, mirror: Any, puller: Any) -> None:
    descriptor = server.image("team/app", "1", layers=LAYERS)
    mirror.documents = server.documents
    configure(puller, mirrored(mirror.host, origin=server.host, pull_from_mirror="digest-only"))
    puller.pulled(NAME)
    assert mirror.log == []
    puller.pulled(f"registry.invalid/team/app@{descriptor['digest']}")
    assert mirror.log


def test_a_mirror_gets_its_own_login_and_never_that_of_the_registry(server: Any, mirror: Any, puller: Any) -> None:
    server.image("team/app", "1", layers=LAYERS)
    mirror.documents = server.documents
    folder = puller.root.parent / ".docker"
    folder.mkdir()
    logins = {"registry.invalid": "origin:secret1", mirror.host: "mirror:secret2"}
    auths = {host: {"auth": base64.b64encode(login.encode()).decode()} for host, login in logins.items()}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    wanted = "Basic " + auths[mirror.host]["auth"]
    mirror.fault = lambda request: (
        request.headers.get("Authorization") != wanted
        and (said(request, 401, b"{}", **{"WWW-Authenticate": 'Basic realm="x"'}) or True)
    )
    configure(puller, mirrored(mirror.host))
    puller.pulled(NAME)
    assert {headers.get("Authorization") for headers in mirror.requests("/")} == {None, wanted}


def test_a_blocked_registry_is_not_asked(server: Any, puller: Any) -> None:
    server.image("team/app", "1", layers=LAYERS)
    configure(puller, f'[[registry]]\nlocation = "{server.host}"\nblocked = true\n')
    assert "is blocked" in puller.refused(f"{server.host}/team/app:1", "RegistryError")
    assert server.log == []
    configure(puller, f'[[registry]]\nlocation = "{server.host}/other"\nblocked = true\n')
    puller.pulled(f"{server.host}/team/app:1")


def test_an_alias_is_pulled_under_the_name_it_means(server: Any, puller: Any) -> None:
    server.image("team/app", "1", layers=LAYERS)
    configure(puller, f'[aliases]\n"app" = "{server.host}/team/app"\n')
    assert puller.pulled("app:1")["names"] == [f"{server.host}/team/app:1"]
    server.log.clear()
    puller.pulled("app:1", policy="missing")
    assert server.log == []


def test_registries_are_searched_in_their_order(server: Any, mirror: Any, puller: Any) -> None:
    server.image("app", "1", layers=LAYERS)
    configure(puller, f'unqualified-search-registries = ["{mirror.host}", "{server.host}"]\n')
    assert puller.pulled("app:1")["names"] == [f"{server.host}/app:1"]
    assert mirror.log
    assert "no such image" in puller.pull("other:1")["message"]


def test_a_search_does_not_go_on_behind_a_registry_that_did_not_answer(server: Any, mirror: Any, puller: Any) -> None:
    server.image("app", "1", layers=LAYERS)
    mirror.fault = lambda request: said(request, 429, b"{}")
    configure(puller, f'unqualified-search-registries = ["{mirror.host}", "{server.host}"]\n')
    puller.refused("app:1", "RateLimited")
    assert server.log == []


def test_a_damaged_file_is_named_and_nothing_is_asked(server: Any, puller: Any) -> None:
    configure(puller, "[[registry]]\nlocation = \n")
    assert "registries.conf" in puller.refused(f"{server.host}/app:1", "SettingsError")
    assert server.log == []
