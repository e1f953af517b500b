"""Connections that fail below HTTP, and registries whose HEAD says something else than their GET: a right image, or one error."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.integration.images.conftest import answer, digest, layer

LAYERS = [layer({"f": bytes(range(256)) * 2000})]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    directory = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other.example", "-days", "1"]
    subprocess.run([*command, "-keyout", directory / "key", "-out", directory / "certificate"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "certificate", directory / "key")
    return context


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("times", [1, 1000])
def test_tls_that_is_cut_without_a_word_is_taken_for_a_broken_connection(
    server: Any, puller: Any, certificate: ssl.SSLContext, part: str, times: int
) -> None:
    """The end of the connection without TLS's own end is no end of a body: an attacker on the way could make it."""
    server.image("app", "1", layers=LAYERS)
    server.encrypt(certificate)
    left = times

    def fault(request: BaseHTTPRequestHandler) -> bool:
        nonlocal left
        if part not in request.path or not left:
            return False
        left -= 1
        _, content = server.documents[request.path]
        request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" + content[: len(content) // 2])  # no length: all until the end
        request.wfile.flush()
        request.close_connection = True
        with socket.socket(fileno=request.connection.detach()) as plain:
            plain.shutdown(socket.SHUT_RDWR)
        return True

    server.fault = fault
    found = puller.pull(f"{server.host}/app:1", check=True)
    assert found.get("error", "") in ("", "RegistryUnreachable", "ImageError", "DigestMismatch")
    assert ("error" in found) or times == 1
    assert [text for text, damage in puller.findings if damage] == []
    server.fault = lambda request: False
    puller.pulled(f"{server.host}/app:1")


@pytest.fixture
def dropping() -> Iterator[str]:
    """HOST:PORT that accepts connections and ends them in the middle of the TLS handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"\x16\x03\x03\x00\x7a\x02")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_handshake_that_is_cut_is_one_error(puller: Any, dropping: str) -> None:
    assert puller.refused(f"{dropping}/app:1", "RegistryUnreachable").isprintable()


def test_a_host_whose_first_address_is_dead_is_reached_by_the_next(server: Any, puller: Any) -> None:
    """localhost is ::1 as well, where nobody listens at this port."""
    server.image("app", "1", layers=LAYERS)
    puller.pulled(f"localhost:{server.host.rpartition(':')[2]}/app:1")


def test_an_address_of_the_newer_kind_that_is_dead_is_one_error(puller: Any) -> None:
    assert puller.refused("[::1]:1/app:1", "RegistryUnreachable").isprintable()


HEADS: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "another digest": lambda request: answer(request, 200, b"", **{"Docker-Content-Digest": "sha256:" + "0" * 64}),
    "no digest": lambda request: answer(request, 200, b""),
    "what is no digest": lambda request: answer(request, 200, b"", **{"Docker-Content-Digest": "sha256:../../x"}),
    "not found": lambda request: answer(request, 404, b""),
    "not allowed": lambda request: answer(request, 405, b""),
    "broken": lambda request: answer(request, 500, b""),
    "a body": lambda request: answer(request, 200, b"x" * 5000),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_says_something_else_than_get_does_no_harm(server: Any, puller: Any, case: str) -> None:
    server.image("app", "1", layers=LAYERS)
    first = puller.pulled(f"{server.host}/app:1")
    entry = server.image("app", "1", layers=LAYERS, author="another")

    def fault(request: BaseHTTPRequestHandler) -> bool:
        if request.command == "HEAD":
            HEADS[case](request)
            request.close_connection = True
        return request.command == "HEAD"

    server.fault = fault
    found = puller.pull(f"{server.host}/app:1", check=True)
    if "error" in found:
        # What HEAD promises can be asked for by that digest alone, and is not there.
        assert (case, found["error"]) == ("another digest", "ImageNotFound")
    else:
        assert found["id"] != first["id"]
        assert f"{server.host}/app@{entry['digest']}" in found["repo_digests"]
    assert puller.findings == []
    server.fault = lambda request: False
    assert puller.pulled(f"{server.host}/app:1")["id"] != first["id"]
    assert digest(server.documents["/v2/app/manifests/1"][1]) == entry["digest"]
