"""What a hostile registry may try (and its legitimate look-alike): logins led astray, endless documents, tags that move while they are pulled."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import answer, layer

LOGIN = base64.b64encode(b"me:secret").decode()
LAYERS = [layer({"file": b"content"})]


def said(request: Any, status: int, content: bytes = b"{}", **headers: str) -> bool:
    answer(request, status, content, **{name.replace("_", "-"): value for name, value in headers.items()})
    return True


@pytest.fixture
def attacker(server: Any) -> Iterator[Any]:
    made = type(server)()
    made.documents = server.documents
    yield made
    made.close()


@pytest.fixture
def name(server: Any, puller: Any) -> str:
    """Of an image for which there is a login; the registry wants a token, which it gives for this login alone."""
    server.image("app", "1", layers=LAYERS)
    folder = puller.root.parent / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": LOGIN}}}))
    return f"{server.host}/app:1"


def guarded(server: Any, then: Callable[[Any], bool], realm: str = "") -> Callable[[Any], bool]:
    """A token first, then what the test wants."""

    def fault(request: Any) -> bool:
        if request.path.startswith("/token"):
            good = request.headers.get("Authorization") == f"Basic {LOGIN}"
            return said(request, 200 if good else 401, b'{"token":"good"}' if good else b"{}")
        if request.headers.get("Authorization") != "Bearer good":
            return said(request, 401, WWW_Authenticate=f'Bearer realm="{realm or f"http://{server.host}/token"}",service="s"')
        return then(request)

    return fault


def secrets(attacker: Any) -> list[str]:
    return [
        f"{name}: {value}"
        for _, headers in attacker.log
        for name, value in headers.items()
        if name in ("Authorization", "Cookie")
    ]


# logins (A8-5)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("how", ["another port", "another host", "no scheme"])
def test_where_a_redirect_leads_no_login_goes(
    server: Any, attacker: Any, puller: Any, name: str, how: str, part: str, status: int
) -> None:
    targets = {
        "another port": f"http://{attacker.host}",
        "another host": f"http://{attacker.host.replace('127.0.0.1', '127.0.0.2')}",
        "no scheme": f"//{attacker.host}",
    }
    server.fault = guarded(
        server,
        lambda request: (
            part in request.path and said(request, status, Location=targets[how] + request.path, Set_Cookie="token=good")
        ),
    )
    # A server on 127.0.0.1 does not answer on 127.0.0.2: then it is an error, and as little goes there.
    found = puller.pull(name, ATTEMPTS=1)
    assert ("error" in found) == (how == "another host")
    assert secrets(attacker) == []
    assert bool(attacker.log) == (how != "another host")


def test_a_redirect_within_the_registry_keeps_the_login_and_its_cookies_are_not_kept(server: Any, puller: Any, name: str) -> None:
    moved = {path.replace("/v2/app", "/v2/moved"): document for path, document in server.documents.items()}
    server.documents |= moved
    server.fault = guarded(
        server,
        lambda request: (
            "/app/" in request.path and said(request, 307, Location=request.path.replace("/app/", "/moved/"), Set_Cookie="a=b")
        ),
    )
    puller.pulled(name)
    for headers in server.requests("/moved/"):
        assert headers["Authorization"] == "Bearer good"
        assert "Cookie" not in headers


def test_a_challenge_of_a_place_that_a_redirect_leads_to_gets_nothing(server: Any, attacker: Any, puller: Any, name: str) -> None:
    attacker.fault = lambda request: said(
        request, 401, WWW_Authenticate=f'Bearer realm="http://{attacker.host}/token",service="s"'
    )
    server.fault = guarded(
        server, lambda request: "/blobs/" in request.path and said(request, 307, Location=f"http://{attacker.host}{request.path}")
    )
    assert attacker.host in puller.refused(name, "RegistryError")
    assert attacker.requests("/token") == []
    assert secrets(attacker) == []


@pytest.mark.parametrize("status", [302, 307])
def test_a_token_service_that_redirects_is_not_followed(server: Any, attacker: Any, puller: Any, name: str, status: int) -> None:
    def fault(request: Any) -> bool:
        if request.path.startswith("/token"):
            return said(request, status, Location=f"http://{attacker.host}/token")
        return said(request, 401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token",service="s"')

    server.fault = fault
    puller.refused(name, "RegistryError")
    assert attacker.log == []


@pytest.mark.parametrize(
    "realm", ["http://0.0.0.0:{port}/token", "http://me@127.0.0.1:{port}/token", "ftp://127.0.0.1:{port}/", "/token"]
)
def test_a_token_service_of_another_host_is_not_asked_in_plain_http(
    server: Any, attacker: Any, puller: Any, name: str, realm: str
) -> None:
    server.fault = guarded(server, lambda request: False, realm.format(port=attacker.host.partition(":")[2]))
    puller.refused(name, "RegistryError")
    assert attacker.log == []


def test_the_token_service_may_be_another_server(server: Any, attacker: Any, puller: Any, name: str) -> None:
    attacker.fault = guarded(attacker, lambda request: False)
    server.fault = guarded(server, lambda request: False, f"http://{attacker.host}/token")
    puller.pulled(name)
    assert secrets(attacker) == [f"Authorization: Basic {LOGIN}"]


def test_the_addresses_in_descriptors_are_not_followed(server: Any, attacker: Any, puller: Any, name: str) -> None:
    path, (_, content) = next((path, document) for path, document in server.documents.items() if path.endswith("/manifests/1"))
    manifest = json.loads(content)
    for descriptor in (manifest["config"], *manifest["layers"]):
        descriptor["urls"] = [f"http://{attacker.host}{path}"]
    server.manifest("app", manifest, "1")
    server.fault = guarded(server, lambda request: False)
    puller.pulled(name)
    assert attacker.log == []


def test_an_expired_token_is_replaced_once_for_all_blobs(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[layer({f"file{number}": bytes([number]) * 1000}) for number in range(6)])
    tokens: list[str] = []

    def fault(request: Any) -> bool:
        if request.path.startswith("/token"):
            tokens.append(f"token{len(tokens)}")
            return said(request, 200, json.dumps({"token": tokens[-1]}).encode())
        # the first token holds for the manifest and the configuration only
        layers_asked = "/blobs/" in request.path and len(server.requests("/blobs/")) > 1
        if request.headers.get("Authorization") != f"Bearer token{1 if layers_asked else 0}":
            return said(request, 401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token",service="s"')
        return False

    server.fault = fault
    puller.pulled(f"{server.host}/app:1")
    assert len(tokens) <= 3


# documents without end (A8-4)

LIMIT = 128 << 10  # KiB


def _endless(request: Any, head: str, block: bytes) -> bool:
    request.wfile.write(head.encode())
    try:
        for _ in range(1 << 14):  # a gigabyte of 64 KiB
            request.wfile.write(block)
    except OSError:
        pass
    request.close_connection = True
    return True


BLOCK = b"x" * 65536
ENDLESS: dict[str, Callable[[Any], bool]] = {
    "with its length": lambda request: _endless(request, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", BLOCK),
    "without a length": lambda request: _endless(request, "HTTP/1.1 200 OK\r\n\r\n", BLOCK),
    "in chunks": lambda request: _endless(
        request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + BLOCK + b"\r\n"
    ),
    "headers": lambda request: _endless(request, "HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 10000),
    "a header": lambda request: _endless(request, "HTTP/1.1 200 OK\r\nA: ", BLOCK),
    "informational answers": lambda request: _endless(
        request, "HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
    ),
    "a packed one": lambda request: said(request, 200, gzip.compress(bytes(64 << 20), 9), Content_Encoding="gzip"),
}


@pytest.mark.parametrize("kind", ENDLESS)
@pytest.mark.parametrize("part", ["/token", "/manifests/", "/blobs/", "HEAD"])
def test_documents_without_end_are_given_up_in_little_memory(server: Any, puller: Any, part: str, kind: str) -> None:
    server.image("app", "1", layers=LAYERS)

    def fault(request: Any) -> bool:
        if part == "HEAD":
            return bool(request.command == "HEAD" and ENDLESS[kind](request))
        if part in request.path:
            return ENDLESS[kind](request)
        if part == "/token" and request.headers.get("Authorization") is None:
            return said(request, 401, WWW_Authenticate=f'Bearer realm="http://{server.host}/token"')
        return False

    name = f"{server.host}/app:1"
    if part == "HEAD":
        puller.pulled(name)
    server.fault = fault
    answered = puller.pull(name, ATTEMPTS=2)
    server.closing.set()
    assert ("error" in answered) == (part != "HEAD")  # without its digest, an unchanged image is found so by the manifest itself
    assert puller.peak < LIMIT


# tags that move (A8-7)


def test_a_tag_that_moves_between_the_question_and_the_answer_is_pulled_as_it_was(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=LAYERS)
    name = f"{server.host}/app:1"
    puller.pulled(name)
    second = server.image("app", "1", layers=[layer({"file": b"second"})])

    def move(request: Any) -> bool:
        if request.command == "HEAD":
            server.serve(request)
            server.image("app", "1", layers=[layer({"file": b"third"})])
            return True
        return False

    server.fault = move
    found = puller.pulled(name)
    assert found["repo_digests"] == [f"{server.host}/app@{second['digest']}"]
    assert Path(found["layers"][0], "file").read_bytes() == b"second"


def test_a_tag_that_moves_while_its_index_is_read_is_pulled_as_it_was(server: Any, puller: Any) -> None:
    def index(content: bytes) -> dict[str, Any]:
        entry = {**server.image("app", layers=[layer({"file": content})]), "platform": {"os": "linux", "architecture": "amd64"}}
        document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
        made: dict[str, Any] = server.manifest("app", document, "1")
        return made

    first = index(b"first")

    def move(request: Any) -> bool:
        if request.path.endswith("/manifests/1"):
            server.serve(request)
            index(b"second")
            return True
        return False

    server.fault = move
    found = puller.pulled(f"{server.host}/app:1", platform="linux/amd64")
    assert found["repo_digests"] == [f"{server.host}/app@{first['digest']}"]
    assert Path(found["layers"][0], "file").read_bytes() == b"first"


def test_a_digest_that_the_registry_only_says_is_not_believed(server: Any, puller: Any) -> None:
    """It says of HEAD that nothing has changed, which keeps an old image, and nothing else."""
    server.image("app", "1", layers=LAYERS)
    name = f"{server.host}/app:1"
    first = puller.pulled(name)
    server.fault = lambda request: (
        request.command == "HEAD" and said(request, 200, b"", Docker_Content_Digest="sha256:" + "0" * 64)
    )
    puller.refused(name, "ImageNotFound")  # what it names it does not have
    server.fault = lambda request: request.command == "HEAD" and said(request, 200, b"", Docker_Content_Digest="../../etc/passwd")
    assert puller.pulled(name) == first
