"""Whom a pull trusts: authorities and client certificates of certs.d, plain http only where it is allowed, proxies.

0.0.0.0 leads to this host, and is no address of the loopback network: what is served there stands for a registry elsewhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.proxy import Proxy
from tests.support.tls import Authority

HOSTS = "IP:127.0.0.1,IP:0.0.0.0"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "one")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "two")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


@pytest.fixture
def elsewhere(server: Any) -> str:
    """The server as a registry that is not on the loopback network."""
    from tests.integration.images.conftest import layer

    server.image("app", "1", layers=[layer({"file": b"content"})])
    host: str = server.host.replace("127.0.0.1", "0.0.0.0")
    return host


def certificates(puller: Any, host: str) -> Path:
    directory: Path = puller.root.parent / ".config/containers/certs.d" / host
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def test_plain_http_is_not_spoken_to_a_host_elsewhere(server: Any, puller: Any, elsewhere: str) -> None:
    message = puller.refused(f"{elsewhere}/app:1", "RegistryUnreachable", ATTEMPTS=1)
    assert elsewhere in message
    assert server.log == []


def test_plain_http_is_spoken_where_it_is_allowed(server: Any, puller: Any, elsewhere: str) -> None:
    puller.pulled(f"{elsewhere}/app:1", insecure=(elsewhere,))
    assert server.log


def test_an_unknown_authority_is_an_error_with_a_hint_and_sends_nothing(
    server: Any, puller: Any, elsewhere: str, authority: Authority
) -> None:
    server.encrypt(authority.server(HOSTS))
    found = puller.pull(f"{elsewhere}/app:1")
    assert found["error"] == "RegistryUnreachable"
    assert "certs.d" in found["hint"]
    assert server.log == []


def test_an_authority_of_certs_d_is_trusted_for_its_host(server: Any, puller: Any, elsewhere: str, authority: Authority) -> None:
    server.encrypt(authority.server(HOSTS))
    shutil.copy(authority.certificate, certificates(puller, elsewhere))
    puller.pulled(f"{elsewhere}/app:1")
    puller.pulled(f"{elsewhere}/app:1")


def test_an_authority_of_certs_d_is_not_trusted_for_another_port(
    server: Any, puller: Any, elsewhere: str, authority: Authority
) -> None:
    server.encrypt(authority.server(HOSTS))
    shutil.copy(authority.certificate, certificates(puller, "0.0.0.0:1"))
    puller.refused(f"{elsewhere}/app:1", "RegistryUnreachable")


def test_a_certificate_for_another_name_is_refused(server: Any, puller: Any, elsewhere: str, authority: Authority) -> None:
    server.encrypt(authority.server("DNS:other.example"))
    shutil.copy(authority.certificate, certificates(puller, elsewhere))
    puller.refused(f"{elsewhere}/app:1", "RegistryUnreachable")


def test_on_the_loopback_network_too_an_authority_of_certs_d_is_the_only_one(
    server: Any, puller: Any, elsewhere: str, authority: Authority, stranger: Authority
) -> None:
    directory = certificates(puller, server.host)
    shutil.copy(stranger.certificate, directory)
    puller.refused(f"{server.host}/app:1", "RegistryUnreachable", ATTEMPTS=1)  # nor does it fall back to plain http
    assert server.log == []
    server.encrypt(authority.server(HOSTS))
    puller.refused(f"{server.host}/app:1", "RegistryUnreachable")
    shutil.copy(authority.certificate, directory)
    puller.pulled(f"{server.host}/app:1")


def test_a_client_certificate_is_shown_to_its_registry(server: Any, puller: Any, elsewhere: str, authority: Authority) -> None:
    server.encrypt(authority.server(HOSTS, clients=True))
    directory = certificates(puller, elsewhere)
    shutil.copy(authority.certificate, directory)
    puller.refused(f"{elsewhere}/app:1", "RegistryUnreachable", ATTEMPTS=1)
    certificate, key = authority.issue("client")
    shutil.copy(certificate, directory / "client.cert")
    found = puller.pull(f"{elsewhere}/app:1")
    assert found["error"] == "SettingsError"
    assert "client.key is missing" in found["message"]
    shutil.copy(key, directory / "client.key")
    puller.pulled(f"{elsewhere}/app:1")


def test_a_client_certificate_is_not_shown_where_a_redirect_leads(
    server: Any, puller: Any, elsewhere: str, authority: Authority
) -> None:
    second = type(server)()
    shown: list[object] = []
    try:
        second.documents = server.documents

        def note(request: Any) -> bool:
            shown.append(request.connection.getpeercert())
            return False

        second.fault = note
        second.encrypt(authority.server(HOSTS, clients=None))
        other = second.host.replace("127.0.0.1", "0.0.0.0")
        server.encrypt(authority.server(HOSTS, clients=True))
        server.fault = lambda request: "/blobs/" in request.path and redirect(request, f"https://{other}{request.path}")
        directory = certificates(puller, elsewhere)
        certificate, key = authority.issue("client")
        shutil.copy(certificate, directory / "client.cert")
        shutil.copy(key, directory / "client.key")
        shutil.copy(authority.certificate, directory)
        shutil.copy(authority.certificate, certificates(puller, other))
        puller.pulled(f"{elsewhere}/app:1")
    finally:
        second.close()
    assert shown
    assert not any(shown)


def test_a_redirect_from_https_to_plain_http_is_refused(server: Any, puller: Any, elsewhere: str, authority: Authority) -> None:
    second = type(server)()
    try:
        second.documents = server.documents
        server.encrypt(authority.server(HOSTS))
        shutil.copy(authority.certificate, certificates(puller, elsewhere))
        server.fault = lambda request: "/blobs/" in request.path and redirect(request, f"http://{second.host}{request.path}")
        assert "plain http" in puller.refused(f"{elsewhere}/app:1", "RegistryError")
        assert second.log == []
    finally:
        second.close()


def redirect(request: Any, target: str) -> bool:
    request.send_response(307)
    request.send_header("Location", target)
    request.send_header("Content-Length", "0")
    request.end_headers()
    return True


# proxies


def test_a_pull_goes_through_the_proxy_of_the_environment(
    server: Any, puller: Any, elsewhere: str, authority: Authority, proxy: Proxy
) -> None:
    server.encrypt(authority.server(HOSTS))
    shutil.copy(authority.certificate, certificates(puller, elsewhere))
    puller.environment["HTTPS_PROXY"] = proxy.address
    puller.pulled(f"{elsewhere}/app:1")
    assert proxy.log
    assert set(proxy.log) == {f"CONNECT {elsewhere}"}
    proxy.log.clear()
    puller.pulled(f"{elsewhere}/app:1")  # the one request of an unchanged tag, too
    assert proxy.log == [f"CONNECT {elsewhere}"]
    puller.environment["NO_PROXY"] = "example.com,0.0.0.0/32"
    proxy.log.clear()
    puller.pulled(f"{elsewhere}/app:1")
    assert proxy.log == []


def test_plain_http_goes_through_its_own_proxy(server: Any, puller: Any, elsewhere: str, proxy: Proxy) -> None:
    puller.environment["http_proxy"] = proxy.address.removeprefix("http://")
    puller.pulled(f"{elsewhere}/app:1", insecure=(elsewhere,))
    assert all(line.split(" ")[1].startswith(f"http://{elsewhere}/v2/app/") for line in proxy.log)
    assert proxy.log


def test_the_loopback_network_is_reached_without_the_proxy(server: Any, puller: Any, elsewhere: str, proxy: Proxy) -> None:
    puller.environment |= {"HTTP_PROXY": proxy.address, "HTTPS_PROXY": proxy.address, "ALL_PROXY": proxy.address}
    puller.pulled(f"{server.host}/app:1")
    assert proxy.log == []


def test_a_proxy_that_is_not_there_is_one_clear_line(puller: Any, elsewhere: str) -> None:
    puller.environment["HTTPS_PROXY"] = "http://127.0.0.1:1"
    message = puller.refused(f"{elsewhere}/app:1", "RegistryUnreachable", ATTEMPTS=1)
    assert "\n" not in message
