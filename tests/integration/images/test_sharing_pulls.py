"""What pulls save each other: one request for a tag that has not changed, blobs that another process has begun, policies."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import answer, digest, layer
from tests.integration.images.test_login import Caller

LARGE = layer({"large": random.Random(5).randbytes(3_000_000)})
SMALL = layer({"small": b"content"})
INDEX = "application/vnd.oci.image.index.v1+json"


def paths(server: Any) -> list[str]:
    return [path for path, _ in server.log]


# unchanged tags


@pytest.mark.parametrize("docker", [False, True])
def test_of_an_unchanged_tag_only_the_digest_is_asked_for(server: Any, puller: Any, docker: bool) -> None:
    server.image("app", "1", layers=[LARGE, SMALL], docker=docker)
    first = puller.pulled(f"{server.host}/app:1")
    server.log.clear()
    before = {path: path.stat().st_mtime_ns for path in puller.root.rglob("*") if "locks" not in str(path)}
    assert puller.pulled(f"{server.host}/app:1") == first
    assert paths(server) == ["/v2/app/manifests/1"]
    assert before == {path: path.stat().st_mtime_ns for path in puller.root.rglob("*") if "locks" not in str(path)}


def test_of_an_unchanged_index_only_the_digest_is_asked_for(server: Any, puller: Any) -> None:
    entries = []
    for architecture in ("amd64", "arm64"):
        entry = server.image("app", layers=[layer({"arch": architecture.encode()})], architecture=architecture)
        entries.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    server.manifest("app", {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, "1")
    name = f"{server.host}/app:1"
    puller.pulled(name, platform="linux/arm64")
    server.log.clear()
    assert puller.pulled(name, platform="linux/arm64")["platform"] == "linux/arm64"
    assert len(server.log) == 1
    assert puller.pulled(name, platform="linux/amd64")["platform"] == "linux/amd64"  # unchanged, and yet another image
    assert puller.pulled(name, platform="linux/arm64")["platform"] == "linux/arm64"


@pytest.mark.parametrize(
    "told",
    [
        lambda request, right: (405, {}),
        lambda request, right: (404, {}),
        lambda request, right: (500, {}),
        lambda request, right: (200, {}),
        lambda request, right: (200, {"Docker-Content-Digest": "nonsense"}),
        lambda request, right: (200, {"Docker-Content-Digest": "sha512:" + "0" * 128 + "0"}),
    ],
)
def test_a_registry_that_does_not_tell_digests_is_asked_for_the_manifest(
    server: Any, puller: Any, told: Callable[[Any, str], tuple[int, dict[str, str]]]
) -> None:
    server.image("app", "1", layers=[SMALL])
    first = puller.pulled(f"{server.host}/app:1")

    def fault(request: Any) -> bool:
        if request.command != "HEAD":
            return False
        status, headers = told(request, "")
        answer(request, status, b"", **headers)
        return True

    server.fault = fault
    assert puller.pulled(f"{server.host}/app:1") == first
    assert not [path for path in paths(server)[3:] if digest(LARGE) in path]


def test_what_is_damaged_is_repaired_although_the_tag_has_not_changed(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[LARGE, SMALL], compress=lambda content: content)
    first = puller.pulled(f"{server.host}/app:1")
    blob = puller.root / "oci/blobs/sha256" / digest(LARGE).removeprefix("sha256:")
    blob.unlink()
    assert puller.pulled(f"{server.host}/app:1") == first
    assert blob.is_file()


def test_with_a_token_an_unchanged_tag_takes_two_requests_more(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[SMALL])

    def fault(request: Any) -> bool:
        if request.path.startswith("/token"):
            answer(request, 200, b'{"token":"good"}')
        elif request.headers.get("Authorization") != "Bearer good":
            answer(request, 401, b"{}", **{"WWW-Authenticate": f'Bearer realm="http://{server.host}/token"'})
        else:
            return False
        return True

    server.fault = fault
    puller.pulled(f"{server.host}/app:1")
    server.log.clear()
    puller.pulled(f"{server.host}/app:1")
    assert [path.partition("?")[0] for path in paths(server)] == ["/v2/app/manifests/1", "/token", "/v2/app/manifests/1"]


# blobs that another process has begun


class Slow:
    """Sends the large blob in pieces, and stops in the middle until it may go on."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.half = threading.Event()
        self.go_on = threading.Event()
        self.ranges: list[str | None] = []
        server.fault = self

    def __call__(self, request: Any) -> bool:
        _, content = self.server.documents.get(request.path, ("", b""))
        if "/blobs/" not in request.path or len(content) < 1_000_000:
            return False
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if wanted is not None:
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:1_500_000])
        request.wfile.flush()
        self.half.set()
        self.go_on.wait(60)
        try:
            request.wfile.write(content[1_500_000:])
        except OSError:
            pass
        return True


def has_begun(puller: Any) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(path.stat().st_size >= 1_000_000 for path in (puller.root / "ingest").glob("*.part")):
            return True
        time.sleep(0.02)
    return False


def test_a_killed_pull_is_continued_by_the_next(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[LARGE], compress=lambda content: content)
    slow = Slow(server)
    first = puller.start(f"{server.host}/app:1")
    assert slow.half.wait(30)
    assert has_begun(puller)
    first.kill()
    first.communicate()
    slow.go_on.set()
    found = puller.pulled(f"{server.host}/app:1")
    assert Path(found["layers"][0], "large").stat().st_size == 3_000_000
    assert len(slow.ranges) == 2
    assert slow.ranges[1] is not None
    assert int(slow.ranges[1].removeprefix("bytes=").rstrip("-")) >= 1_000_000
    assert puller.leftovers() == []


def test_a_pull_that_waits_takes_over_from_one_that_dies(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[LARGE, SMALL], compress=lambda content: content)
    slow = Slow(server)
    first = puller.start(f"{server.host}/app:1")
    assert slow.half.wait(30)
    assert has_begun(puller)
    second = puller.start(f"{server.host}/app:1")
    while len(server.requests("/manifests/")) < 2:
        time.sleep(0.02)
    time.sleep(0.5)
    assert second.poll() is None  # it waits for the first, and fetches nothing
    assert len(slow.ranges) == 1
    first.kill()
    first.communicate()
    found = puller.finish(second)
    slow.go_on.set()
    assert "error" not in found, found
    assert len(slow.ranges) == 2
    assert slow.ranges[1] is not None
    puller.pulled(f"{server.host}/app:1")  # what the first has left goes now, though the tag has not changed
    assert puller.leftovers() == []


def test_a_part_that_was_damaged_meanwhile_is_fetched_anew(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[LARGE], compress=lambda content: content)
    slow = Slow(server)
    first = puller.start(f"{server.host}/app:1")
    assert slow.half.wait(30)
    assert has_begun(puller)
    first.kill()
    first.communicate()
    slow.go_on.set()
    (part,) = (puller.root / "ingest").glob("*.part")
    content = bytearray(part.read_bytes())
    content[1000] ^= 1
    part.write_bytes(content)
    found = puller.pulled(f"{server.host}/app:1")
    assert Path(found["layers"][0], "large").read_bytes() == random.Random(5).randbytes(3_000_000)
    puller.check()


def test_a_refused_range_is_answered_by_reading_past_what_is_known(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[LARGE], compress=lambda content: content)
    asked: list[str | None] = []

    def fault(request: Any) -> bool:
        _, content = server.documents.get(request.path, ("", b""))
        if "/blobs/" not in request.path or len(content) < 1_000_000:
            return False
        asked.append(request.headers.get("Range"))
        if asked[-1] is not None:
            answer(request, 416, b"")
        elif len(asked) > 1:
            return False
        else:
            request.send_response(200)
            request.send_header("Content-Length", str(len(content)))
            request.end_headers()
            request.wfile.write(content[:1_500_000])
            request.wfile.flush()
            request.connection.shutdown(2)
        return True

    server.fault = fault
    found = puller.pulled(f"{server.host}/app:1")
    assert Path(found["layers"][0], "large").read_bytes() == random.Random(5).randbytes(3_000_000)
    assert [bool(one) for one in asked] == [False, True, False]


# policies and hints, by the command line


@pytest.fixture
def crate(tmp_path: Path) -> Caller:
    (tmp_path / "runtime").mkdir()
    return Caller(tmp_path)


def test_newer_takes_what_is_here_where_the_registry_gives_nothing(server: Any, crate: Caller) -> None:
    name = f"{server.host}/app:1"
    server.image("app", "1", layers=[SMALL])
    assert "no such image" in crate("pull", "--pull", "newer", f"{server.host}/app:2", status=1)
    crate("pull", "--pull", "newer", name)
    second = server.image("app", "1", layers=[layer({"second": b""})])
    assert second["digest"] in crate("pull", "--policy", "newer", name)

    def broken(request: Any) -> bool:
        answer(request, 500, b"{}")
        return True

    server.fault = broken
    shown = crate("pull", "--pull", "newer", name)
    assert "warning: " in shown
    assert "the image that is here is used" in shown
    server.log.clear()
    crate("pull", "--pull", "missing", name)
    crate("pull", "--pull", "never", name)
    assert server.log == []
    assert "not to be pulled" in crate("pull", "--pull", "never", f"{server.host}/app:3", status=1)


def test_of_a_tag_that_is_not_there_the_nearest_are_named(server: Any, crate: Caller) -> None:
    server.image("app", "1.27", layers=[SMALL])
    server.documents["/v2/app/tags/list?n=200"] = ("application/json", b'{"name":"app","tags":["1.25","1.26","1.27","latest"]}')
    shown = crate("pull", f"{server.host}/app:1.28", status=1)
    assert f"{server.host} has no such image: manifest unknown" in shown
    assert "hint: its tags are: 1.2" in shown
    assert "latest" in shown


@pytest.mark.parametrize(
    "tags", [b"", b"[]", b'{"tags":null}', b'{"tags":[1,{"a":2}]}', b'{"tags":["\\u001b[2J"]}', b"[" * 100_000]
)
def test_what_is_no_list_of_tags_is_not_shown(server: Any, crate: Caller, tags: bytes) -> None:
    server.image("app", "1", layers=[SMALL])
    server.documents["/v2/app/tags/list?n=200"] = ("application/json", tags)
    shown = crate("pull", f"{server.host}/app:2", status=1)
    assert "check the name and the tag" in shown
    assert "\x1b" not in shown


def test_tls_verify_wins_over_the_settings_and_the_loopback_rule(server: Any, crate: Caller) -> None:
    server.image("app", "1", layers=[SMALL])
    crate("pull", "--tls-verify", f"{server.host}/app:1", status=1)
    assert server.log == []
    elsewhere = server.host.replace("127.0.0.1", "0.0.0.0")
    crate("pull", f"{elsewhere}/app:1", status=1)
    assert server.log == []
    crate("pull", "--tls-verify=false", f"{elsewhere}/app:1")


def test_a_container_is_made_from_the_image_of_an_alias(server: Any, crate: Caller) -> None:
    server.image("team/app", "latest", layers=[SMALL])
    directory = crate.home / ".config/containers"
    directory.mkdir(parents=True)
    (directory / "registries.conf").write_text(f'[aliases]\n"app" = "{server.host}/team/app"\n')
    first = crate("create", "-q", "app").splitlines()[-1]
    server.log.clear()
    second = crate("create", "app").strip()
    assert server.log == []
    crate("create", "--pull", "newer", "-q", "app")
    assert len(server.log) == 1
    crate("rm", first, second)
