"""A registry that misbehaves: every pull ends with the image or with one clear error, and no login goes astray."""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import shutil
import ssl
import subprocess
import tarfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from crate_engine.oci import media_types

CONTENT = random.Random(9).randbytes(2_000_000)
Request = BaseHTTPRequestHandler


def archive(name: str = "file", content: bytes = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def reply(request: Request, status: int, content: bytes = b"", **headers: str) -> bool:
    """Header names with underscores for hyphens."""
    request.send_response(status)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    for name, value in ({"Content-Length": str(len(content))} | names).items():
        if value:
            request.send_header(name, value)
    request.end_headers()
    if request.command != "HEAD":
        request.wfile.write(content)
    return True


def is_layer(request: Request, server: Any) -> bool:
    return "/blobs/" in request.path and len(server.documents[request.path][1]) > 1_000_000


def break_off(request: Request) -> bool:
    request.wfile.flush()
    request.close_connection = True
    request.connection.shutdown(2)
    return True


@pytest.fixture
def name(server: Any) -> str:
    server.image("app", "1", layers=[archive()])
    return f"{server.host}/app:1"


@pytest.fixture
def second(server: Any) -> Any:
    """Another origin: the same host, another port."""
    made = type(server)()
    made.documents = server.documents
    yield made
    made.close()


# transfers that break


@pytest.mark.parametrize("at", [0, 1, 1_000_000, -1])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(server: Any, puller: Any, name: str, at: int) -> None:
    broken: list[int] = []

    def fault(request: Request) -> bool:
        if not is_layer(request, server) or broken:
            return False
        content = server.documents[request.path][1]
        broken.append(at % len(content))
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: broken[0]])
        return break_off(request)

    server.fault = fault
    puller.pulled(name)
    ranges = [
        headers.get("Range") for path, headers in server.log if "/blobs/" in path and len(server.documents[path][1]) > 1_000_000
    ]
    assert ranges[0] is None
    if at not in (0,):
        # What the client had received when the connection broke is not asked for again; it may not have been all.
        assert ranges[1] is not None or at == 1


def test_a_server_that_ignores_ranges_is_understood(server: Any, puller: Any, name: str) -> None:
    count = 0

    def fault(request: Request) -> bool:
        nonlocal count
        if not is_layer(request, server):
            return False
        count += 1
        content = server.documents[request.path][1]
        if count > 1:
            return reply(request, 200, content)
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:700_000])
        return break_off(request)

    server.fault = fault
    puller.pulled(name)
    assert count == 2


def _cut(request: Request, server: Any) -> bool:
    content = server.documents[request.path][1]
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[:700_000])
    return break_off(request)


def _then(first: Callable[[Request, Any], bool], rest: Callable[[Request, Any], bool]) -> Callable[[Request, Any], bool]:
    seen: list[str] = []

    def fault(request: Request, server: Any) -> bool:
        seen.append(request.path)
        return first(request, server) if len(seen) == 1 else rest(request, server)

    return fault


def _content(server: Any, request: Request) -> bytes:
    content: bytes = server.documents[request.path][1]
    return content


LAYER_FAULTS: dict[str, tuple[Callable[[Request, Any], bool], str]] = {
    "another part than was asked for": (
        _then(_cut, lambda request, server: reply(request, 206, _content(server, request)[5:], Content_Range=f"bytes 5-9/{10}")),
        "RegistryError",
    ),
    "a range that is refused": (_then(_cut, lambda request, server: reply(request, 416)), "RegistryError"),
    "one bit is wrong": (
        lambda request, server: reply(request, 200, _content(server, request)[:-1] + bytes([_content(server, request)[-1] ^ 1])),
        "DigestMismatch",
    ),
    "one byte more": (lambda request, server: reply(request, 200, _content(server, request) + b"x"), "DigestMismatch"),
    "one byte less": (lambda request, server: reply(request, 200, _content(server, request)[:-1]), "RegistryUnreachable"),
    "nothing at all": (lambda request, server: reply(request, 200), "RegistryUnreachable"),
    "an error page": (lambda request, server: reply(request, 200, b"<html>busy</html>"), "RegistryUnreachable"),
    "always cut": (_cut, "RegistryUnreachable"),
    "gone": (lambda request, server: reply(request, 404), "ImageNotFound"),
    "forbidden": (lambda request, server: reply(request, 403), "AuthenticationRequired"),
    "broken server": (lambda request, server: reply(request, 500), "RegistryError"),
    "overloaded for hours": (lambda request, server: reply(request, 429, Retry_After="36000"), "RateLimited"),
    "nonsense in Retry-After": (lambda request, server: reply(request, 503, Retry_After="soon"), "RegistryError"),
    "teapot": (lambda request, server: reply(request, 418), "RegistryError"),
}


@pytest.mark.parametrize("case", LAYER_FAULTS.values(), ids=LAYER_FAULTS.keys())
def test_wrong_answers_for_a_layer_end_in_one_error_and_no_image(
    server: Any, puller: Any, name: str, case: tuple[Any, str]
) -> None:
    answer, error = case
    server.fault = lambda request: is_layer(request, server) and answer(request, server)
    message = puller.refused(name, error)
    assert "\n" not in message
    assert len([path for path, _ in server.log if is_layer_path(path, server)]) <= 6
    assert puller.layer_count() == 0
    assert json.loads((puller.root / "oci/index.json").read_bytes())["manifests"] == []
    server.fault = lambda request: False
    puller.pulled(name)
    assert puller.leftovers() == []


def is_layer_path(path: str, server: Any) -> bool:
    return "/blobs/" in path and len(server.documents[path][1]) > 1_000_000


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
def test_a_passing_fault_is_waited_out(server: Any, puller: Any, name: str, status: int, part: str) -> None:
    left = 2

    def fault(request: Request) -> bool:
        nonlocal left
        if part not in request.path or not left:
            return False
        left -= 1
        return reply(request, status, Retry_After="0")

    server.fault = fault
    puller.pulled(name)


def test_retry_after_is_honoured(server: Any, puller: Any, name: str) -> None:
    times: list[float] = []

    def fault(request: Request) -> bool:
        if "/manifests/" not in request.path:
            return False
        times.append(time.monotonic())
        return len(times) == 1 and reply(request, 429, Retry_After="2")

    server.fault = fault
    puller.pulled(name, hurry=False)
    assert times[1] - times[0] >= 2


@pytest.mark.parametrize("how", ["nothing comes", "a byte at a time"])
def test_a_stalled_transfer_is_noticed(server: Any, puller: Any, name: str, how: str) -> None:
    def fault(request: Request) -> bool:
        if not is_layer(request, server):
            return False
        request.send_response(200)
        request.send_header("Content-Length", str(len(_content(server, request))))
        request.end_headers()
        end = time.monotonic() + 10
        try:
            while time.monotonic() < end and not server.closing.is_set():
                if how != "nothing comes":
                    request.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass
        return True

    server.fault = fault
    begin = time.monotonic()
    puller.refused(name, "RegistryUnreachable", STALL_SECONDS=1, ATTEMPTS=2)
    assert time.monotonic() - begin < 9


# documents


def test_documents_that_are_not_what_they_were_announced_as(server: Any, puller: Any) -> None:
    entry = server.image("app", "1", layers=[archive()])
    path = f"/v2/app/manifests/{entry['digest']}"
    kind, good = server.documents[path]
    for change, error in (
        ((kind, good + b" "), "DigestMismatch"),
        ((kind, b"x" * (5 << 20)), "ImageError"),
        ((media_types.DOCKER_MANIFEST, good), "ImageError"),
        ((media_types.OCI_INDEX, good), "ImageError"),
        (("application/vnd.docker.distribution.manifest.v1+prettyjws", good), "ImageError"),
        (("text/html", b"<html>"), "DigestMismatch"),
    ):
        server.documents[path] = change
        puller.refused(f"{server.host}/app@{entry['digest']}", error)


def test_a_header_that_names_another_digest_is_believed_to_be_a_warning(server: Any, puller: Any, name: str) -> None:
    server.fault = lambda request: (
        "/manifests/" in request.path
        and reply(
            request,
            200,
            _content(server, request),
            Content_Type=media_types.OCI_MANIFEST,
            Docker_Content_Digest="sha256:" + "0" * 64,
        )
    )
    puller.refused(name, "DigestMismatch")


def test_a_configuration_that_is_another_is_refused(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive()])
    (config,) = [path for path, (_, content) in server.documents.items() if "/blobs/" in path and content.startswith(b"{")]
    server.documents[config] = ("", server.documents[config][1].replace(b"amd64", b"arm64"))
    puller.refused(f"{server.host}/app:1", "DigestMismatch")


def test_a_layer_whose_content_has_another_diff_id_is_refused(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive()], diff_ids=["sha256:" + "0" * 64])
    assert "unpack layer" in puller.refused(f"{server.host}/app:1", "DigestMismatch")
    assert puller.layer_count() == 0
    assert puller.leftovers() == []


def test_the_number_of_layers_must_agree(server: Any, puller: Any) -> None:
    server.image("app", "1", layers=[archive()], diff_ids=["sha256:" + "0" * 64] * 2)
    assert "1 layers and 2 diff ids" in puller.refused(f"{server.host}/app:1", "ImageError")


@pytest.mark.parametrize("damage", ["truncated", "not a tar", "bomb", "bad gzip"])
def test_layers_that_cannot_be_unpacked_are_refused_before_all_of_them_is_fetched(server: Any, puller: Any, damage: str) -> None:
    plain = archive()
    content = {"truncated": plain[: 512 * 100], "not a tar": b"no tar " * 200_000, "bomb": bytes(200 << 20), "bad gzip": plain}[
        damage
    ]
    compress = (lambda content: b"\x1f\x8b" + content) if damage == "bad gzip" else (lambda content: gzip.compress(content, 6))
    server.image("app", "1", layers=[content], compress=compress)
    begin = time.monotonic()
    puller.refused(f"{server.host}/app:1", "LayerError")
    assert time.monotonic() - begin < 10
    assert puller.layer_count() == 0
    assert puller.leftovers() == []


def test_other_artifacts_are_named_as_such(server: Any, puller: Any) -> None:
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST, "layers": []}
    server.manifest(
        "chart",
        document | {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", **server.blob("chart", b"{}")}},
        "1",
    )
    assert "helm" in puller.refused(f"{server.host}/chart:1", "ImageError")


# logins


def bearer(server: Any, tokens: Callable[[Request], bytes], check: str = "Bearer good") -> Callable[[Request], bool]:
    """Everything wants a token that /token gives."""

    def fault(request: Request) -> bool:
        if request.path.startswith("/token"):
            return reply(request, 200, tokens(request))
        if request.headers.get("Authorization") == check or request.path == "/v2/":
            return False
        realm = f'Bearer realm="http://{server.host}/token",service="s"'
        return reply(request, 401, b"{}", WWW_Authenticate=realm)

    return fault


def test_one_token_serves_a_whole_pull(server: Any, puller: Any, name: str) -> None:
    server.fault = bearer(server, lambda request: b'{"token":"good"}')
    puller.pulled(name)
    assert len(server.requests("/token")) == 1
    assert "scope=repository%3Aapp%3Apull" in next(path for path, _ in server.log if path.startswith("/token"))


def test_a_login_from_a_file_goes_to_the_token_service_and_the_token_to_the_registry(server: Any, puller: Any, name: str) -> None:
    folder = puller.root.parent / ".docker"
    folder.mkdir()
    login = base64.b64encode(b"me:secret").decode()
    (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": login}}}))
    server.fault = bearer(
        server, lambda request: b'{"token":"good"}' if request.headers.get("Authorization") == f"Basic {login}" else b"{}"
    )
    puller.pulled(name)
    assert {headers.get("Authorization") for headers in server.requests("/blobs/")} == {"Bearer good"}


def test_basic_logins_work_and_their_absence_is_an_error_with_a_hint(server: Any, puller: Any, name: str) -> None:
    login = "Basic " + base64.b64encode(b"me:secret").decode()
    server.fault = lambda request: (
        request.path != "/v2/"
        and request.headers.get("Authorization") != login
        and reply(request, 401, WWW_Authenticate='Basic realm="x"')
    )
    assert puller.pull(name)["error"] == "AuthenticationRequired"
    folder = puller.root.parent / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": login.split()[1]}}}))
    puller.pulled(name)
    (folder / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": base64.b64encode(b"me:wrong").decode()}}}))
    assert puller.pull(name)["error"] == "AuthenticationRequired"


def test_a_refused_token_ends_in_an_error(server: Any, puller: Any, name: str) -> None:
    server.fault = bearer(server, lambda request: b'{"token":"bad"}')
    puller.refused(name, "AuthenticationRequired")
    server.fault = lambda request: (
        reply(request, 401) if request.path.startswith("/token") else bearer(server, lambda request: b"")(request)
    )
    puller.refused(name, "AuthenticationRequired")


# redirects


@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_is_followed_without_the_login(server: Any, second: Any, puller: Any, name: str, status: int) -> None:
    token = bearer(server, lambda request: b'{"token":"good"}')
    server.fault = lambda request: (
        token(request)
        or (
            "/blobs/" in request.path and reply(request, status, Location=f"http://{second.host}{request.path}", Set_Cookie="a=b")
        )
    )
    puller.pulled(name)
    assert len(second.requests("/blobs/")) == 2
    for headers in second.requests("/"):
        assert "Authorization" not in headers
        assert "good" not in str(headers)


def test_a_redirect_within_the_registry_keeps_the_login(server: Any, puller: Any, name: str) -> None:
    token = bearer(server, lambda request: b'{"token":"good"}')
    server.documents |= {path.replace("/blobs/", "/moved/"): document for path, document in server.documents.items()}
    server.fault = lambda request: (
        token(request) or ("/blobs/" in request.path and reply(request, 307, Location=request.path.replace("/blobs/", "/moved/")))
    )
    puller.pulled(name)
    assert {headers.get("Authorization") for headers in server.requests("/moved/")} == {"Bearer good"}


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://x/y", "http://user:pw@127.0.0.1:1/x", "//", "javascript:alert(1)", "data:,x"],
)
def test_redirects_to_anything_but_a_web_address_are_refused(server: Any, puller: Any, name: str, target: str) -> None:
    server.fault = lambda request: "/blobs/" in request.path and reply(request, 302, Location=target)
    assert puller.pull(name)["error"] in ("RegistryError", "RegistryUnreachable")


def test_redirects_without_end_are_refused(server: Any, puller: Any, name: str) -> None:
    server.fault = lambda request: "/blobs/" in request.path and reply(request, 302, Location=request.path)
    assert "more than 5" in puller.refused(name, "RegistryError")
    assert len(server.requests("/blobs/")) <= 7


def test_a_login_asked_for_by_the_target_of_a_redirect_is_not_given(server: Any, second: Any, puller: Any, name: str) -> None:
    folder = puller.root.parent / ".docker"
    folder.mkdir()
    auths = {host: {"auth": base64.b64encode(b"me:secret").decode()} for host in (server.host, second.host)}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    second.fault = lambda request: reply(request, 401, WWW_Authenticate=f'Bearer realm="http://{second.host}/token"')
    server.fault = lambda request: (
        "/blobs/" in request.path and reply(request, 302, Location=f"http://{second.host}{request.path}")
    )
    puller.refused(name, "RegistryError")
    assert second.requests("/token") == []
    assert all("Authorization" not in headers for headers in second.requests("/"))


# hosts


def test_plain_http_is_only_spoken_where_it_is_allowed(puller: Any) -> None:
    # A name that is not loopback's: nothing is asked in plain http, so nothing can be answered.
    message = puller.refused("crate-test.invalid/app:1", "RegistryUnreachable", ATTEMPTS=1)
    assert "crate-test.invalid cannot be reached" in message


def test_certificates_are_not_checked_on_the_loopback_network(server: Any, puller: Any, tmp_path: Any, name: str) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=other.example", "-days", "1"]
    subprocess.run([*command, "-keyout", tmp_path / "key", "-out", tmp_path / "certificate"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    server.encrypt(context)
    puller.pulled(name)


def test_nothing_that_listens_is_one_clear_line(puller: Any) -> None:
    message = puller.refused("127.0.0.1:1/app:1", "RegistryUnreachable")
    assert "neither https nor http" in message


def test_a_name_that_does_not_exist_is_not_found(server: Any, puller: Any, name: str) -> None:
    assert "no such image: manifest unknown" in puller.refused(f"{server.host}/app:2", "ImageNotFound")


def test_what_a_registry_says_cannot_write_to_a_terminal(server: Any, puller: Any, name: str) -> None:
    body = json.dumps({"errors": [{"message": "\x1b]0;owned\x07 text\nmore"}]}).encode()
    server.fault = lambda request: request.path != "/v2/" and reply(request, 403, body)
    message = puller.refused(name, "AuthenticationRequired")
    assert "text more" in message
    assert message.isprintable()
