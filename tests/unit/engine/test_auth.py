"""Challenges and the token protocol, without any network."""

from __future__ import annotations

from collections.abc import Generator
from urllib.parse import parse_qs, urlsplit

import pytest

from crate_engine.errors import AuthenticationRequired, RegistryError
from crate_engine.registry.auth import Challenge, Credentials, TokenRequest, authorize, parse_challenges

SCOPE = "repository:library/nginx:pull"
LOGIN = Credentials("me", "secret")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Bearer realm="https://a/t",service="s x",scope="r:a,b:pull"',
         [Challenge("bearer", {"realm": "https://a/t", "service": "s x", "scope": "r:a,b:pull"})]),
        ("BEARER Realm=\"https://a/t\" , Service=plain", [Challenge("bearer", {"realm": "https://a/t", "service": "plain"})]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        ("Negotiate, Basic realm=\"a \\\"b\\\" c\"", [Challenge("negotiate", {}), Challenge("basic", {"realm": 'a "b" c'})]),
        ('Basic realm="x", Bearer realm="https://a"', [Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "https://a"})]),
        ("Basic", [Challenge("basic", {})]),
        ("", []),
        ("=", []),
        ('"', []),
        ('Bearer realm="unterminated', [Challenge("bearer", {})]),
        ('Bearer realm="a",realm="b"', [Challenge("bearer", {"realm": "a"})]),
    ],
)  # fmt: skip
def test_challenges_are_read(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges(header)[: len(expected)] == expected
    assert len(parse_challenges(header)) >= len(expected)


def test_a_long_header_is_read_in_linear_time() -> None:
    assert len(parse_challenges("Basic " * 20_000)) > 0
    parse_challenges('Bearer a="' + "\\" * 100_000)
    parse_challenges("Bearer " + " a=b ," * 20_000)


def start(header: str, login: Credentials | None, insecure: bool = False) -> Generator[TokenRequest, bytes, str]:
    return authorize("r.example", parse_challenges(header), SCOPE, login, insecure=insecure)


def finish(flow: Generator[TokenRequest, bytes, str], answer: bytes) -> str:
    with pytest.raises(StopIteration) as done:
        flow.send(answer)
    return str(done.value.value)


@pytest.mark.parametrize("login", [None, LOGIN])
def test_a_token_is_asked_for_with_scope_and_service_and_the_login_if_any(login: Credentials | None) -> None:
    flow = start('Bearer realm="https://auth.example/token?x=1",service="r.example"', login)
    request = next(flow)
    parts = urlsplit(request.url)
    assert (parts.netloc, parts.path) == ("auth.example", "/token")
    assert parse_qs(parts.query) == {"x": ["1"], "service": ["r.example"], "scope": [SCOPE]}
    assert request.form == ""
    assert request.authorization == ("Basic bWU6c2VjcmV0" if login else "")
    assert finish(flow, b'{"token":"abc.def","expires_in":300}') == "Bearer abc.def"


def test_an_identity_token_is_exchanged_and_not_put_into_an_address() -> None:
    flow = start('Bearer realm="https://a/t",service="s"', Credentials(identity_token="refresh"))
    request = next(flow)
    assert (request.url, request.authorization) == ("https://a/t", "")
    assert parse_qs(request.form)["refresh_token"] == ["refresh"]
    assert finish(flow, b'{"access_token":"new"}') == "Bearer new"


@pytest.mark.parametrize(
    "realm",
    [
        "http://a/t",
        "",
        "ftp://a/t",
        "file:///etc/passwd",
        "//a/t",
        "/t",
        "https://",
        "https://u:p@a/t",
        "https://a/t#f",
        "javascript:x",
        "https://a/\nHost: b",
        "https://ä/",
        "https://[::1/token",
        "https://a:99999999/t",
        " https://a/t",
        "\thttps://a/t",
        "https://a/ t",
    ],
)
def test_token_services_must_be_https_addresses(realm: str) -> None:
    with pytest.raises(RegistryError, match="token service"):
        next(authorize("r", [Challenge("bearer", {"realm": realm})], SCOPE, LOGIN, insecure=False))


def test_a_plain_registry_may_have_a_plain_token_service() -> None:
    assert next(start('Bearer realm="http://a/t"', None, insecure=True)).url.startswith("http://a/t?")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"{}",
        b'{"token":1}',
        b'{"token":""}',
        b'{"token":"a b"}',
        b'{"token":"a\\r\\nX: y"}',
        b'{"token":"a","token":"b"}',
        b"<html>",
        b"x" * (2 << 20),
    ],
)
def test_answers_without_a_usable_token_are_errors(answer: bytes) -> None:
    flow = start('Bearer realm="https://a/t"', None)
    next(flow)
    with pytest.raises(RegistryError):
        flow.send(answer)


def test_basic_is_used_when_it_is_all_there_is() -> None:
    with pytest.raises(StopIteration) as done:
        next(start('Basic realm="x"', LOGIN))
    assert done.value.value == "Basic bWU6c2VjcmV0"
    with pytest.raises(AuthenticationRequired, match=r"r\.example") as failure:
        next(start('Basic realm="x"', None))
    assert "login" in str(failure.value.hint)


def test_bearer_is_preferred_and_others_are_not_spoken() -> None:
    assert isinstance(next(start('Basic realm="x", Bearer realm="https://a/t"', LOGIN)), TokenRequest)
    with pytest.raises(RegistryError, match="offered: negotiate"):
        next(start("Negotiate", LOGIN))
    with pytest.raises(RegistryError, match="offered: none"):
        next(start("", LOGIN))


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(LOGIN)
    assert "token1" not in repr(Credentials(identity_token="token1"))
    assert "Basic" not in repr(TokenRequest("https://a", LOGIN.basic))


def test_several_scopes_are_asked_for_at_once_and_none_too() -> None:
    both = "repository:a:pull,push repository:b:pull"
    request = next(authorize("r", parse_challenges('Bearer realm="https://a/t"'), both, None, insecure=False))
    assert parse_qs(urlsplit(request.url).query) == {"scope": ["repository:a:pull,push", "repository:b:pull"]}
    assert next(authorize("r", parse_challenges('Bearer realm="https://a/t"'), "", LOGIN, insecure=False)).url == "https://a/t"
