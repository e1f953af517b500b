"""Logins that docker and podman keep."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from crate_engine.errors import SettingsError
from crate_engine.registry import credentials
from crate_engine.registry.auth import Credentials


def entry(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def write(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))


def test_without_files_there_is_no_login(home: Path) -> None:
    assert credentials.find("docker.io", "library/nginx") is None


def test_files_are_looked_at_in_order_and_the_first_with_an_entry_wins(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker, podman, run = home / ".docker/config.json", home / ".config/containers/auth.json", home / "run/containers/auth.json"
    write(docker, {"auths": {"a.io": entry("docker:1"), "b.io": entry("docker:2")}})
    assert credentials.find("a.io", "x") == Credentials("docker", "1")
    write(podman, {"auths": {"a.io": entry("podman:1")}})
    assert credentials.find("a.io", "x") == Credentials("podman", "1")
    write(run, {"auths": {"a.io": entry("run:p:w")}})
    assert credentials.find("a.io", "x") == Credentials("run", "p:w")
    assert credentials.find("b.io", "x") == Credentials("docker", "2")
    write(home / "other/config.json", {"auths": {"b.io": entry("other:1")}})
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "other"))
    assert credentials.find("b.io", "x") == Credentials("other", "1")
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "missing"))
    assert credentials.find("a.io", "x") is None


def test_the_closest_entry_counts(home: Path) -> None:
    auths = {"h.io": entry("host:1"), "h.io/team": entry("team:1"), "h.io/team/app": entry("app:1")}
    write(home / ".docker/config.json", {"auths": auths})
    for repository, user in (("x", "host"), ("team/y", "team"), ("team/app", "app"), ("team/app/z", "app"), ("teams/y", "host")):
        found = credentials.find("h.io", repository)
        assert found is not None
        assert found.username == user
    assert credentials.find("h.io:5000", "x") is None
    assert credentials.find("evil-h.io", "x") is None


@pytest.mark.parametrize("key", ["docker.io", "index.docker.io", "https://index.docker.io/v1/"])
def test_docker_hub_has_several_spellings(home: Path, key: str) -> None:
    write(home / ".docker/config.json", {"auths": {key: entry("hub:1")}})
    assert credentials.find("docker.io", "library/nginx") == Credentials("hub", "1")
    assert credentials.find("quay.io", "x") is None


def test_addresses_and_identity_tokens_are_understood(home: Path) -> None:
    write(
        home / ".docker/config.json", {"auths": {"https://c.io/v1/": entry("me:x"), "d.io": {"identitytoken": "t"}, "e.io": {}}}
    )
    assert credentials.find("c.io", "x") == Credentials("me", "x")
    assert credentials.find("d.io", "x") == Credentials(identity_token="t")
    assert credentials.find("e.io", "x") is None


@pytest.mark.parametrize("document", ["not json", '{"auths":{"a.io":{"auth":"%%%"}}}'])
def test_damaged_files_are_named(home: Path, document: str) -> None:
    write(home / ".docker/config.json", document)
    with pytest.raises(SettingsError, match=r"config\.json"):
        credentials.find("a.io", "x")


@pytest.mark.parametrize(
    "document", [[], {"auths": []}, {"auths": {"a.io": 1}}, {"credHelpers": 1, "credsStore": 5}, {"auths": None}]
)
def test_other_shapes_mean_no_login(home: Path, document: object) -> None:
    write(home / ".docker/config.json", document)
    assert credentials.find("a.io", "x") is None


def test_credential_helpers_are_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = home / "bin/docker-credential-test"
    write(helper, '#!/bin/sh\nread host\n[ "$1" = get ] || exit 1\ncase $host in\na.io) echo \'{"Username":"u","Secret":"s"}\';;\n'
          "b.io) echo '{\"Username\":\"<token>\",\"Secret\":\"t\"}';;\n*) echo missing; exit 1;;\nesac\n")  # fmt: skip
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{home}/bin:/usr/bin:/bin")
    write(home / ".docker/config.json", {"credHelpers": {"a.io": "test", "b.io": "test", "c.io": "test", "d.io": "absent"}})
    assert credentials.find("a.io", "x") == Credentials("u", "s")
    assert credentials.find("b.io", "x") == Credentials(identity_token="t")
    assert credentials.find("c.io", "x") is None
    assert credentials.find("d.io", "x") is None
    write(home / ".docker/config.json", {"auths": {"a.io": {}}, "credsStore": "test"})
    assert credentials.find("a.io", "x") == Credentials("u", "s")
    write(home / ".docker/config.json", {"credHelpers": {"a.io": "../../bin/sh"}})
    with pytest.raises(SettingsError, match="no valid name"):
        credentials.find("a.io", "x")


def test_a_named_file_is_read_alone_and_must_be_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home / ".docker/config.json", {"auths": {"a.io": entry("docker:1"), "b.io": entry("docker:1")}})
    write(home / "named.json", {"auths": {"a.io": entry("named:1")}})
    assert credentials.find("a.io", "x", authfile=str(home / "named.json")) == Credentials("named", "1")
    assert credentials.find("b.io", "x", authfile=str(home / "named.json")) is None
    with pytest.raises(SettingsError, match=r"missing\.json"):
        credentials.find("a.io", "x", authfile=str(home / "missing.json"))
    monkeypatch.setenv("DOCKER_CONFIG", str(home / "other"))
    assert credentials.find("a.io", "x") is None


def test_the_files_are_in_the_order_of_the_other_programs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert credentials.files() == [
        f"{home}/run/containers/auth.json",
        f"{home}/.config/containers/auth.json",
        f"{home}/.docker/config.json",
        f"{home}/.dockercfg",
    ]
    monkeypatch.setenv("DOCKER_CONFIG", "/d")
    assert credentials.files() == ["/d/config.json"]
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/r")
    assert credentials.files() == ["/r"]
    assert credentials.files("/f") == ["/f"]


def test_dockers_first_file_is_read_last(home: Path) -> None:
    write(home / ".dockercfg", {"https://a.io/v1/": entry("old:1") | {"email": "x"}, "b.io": entry("old:2")})
    assert credentials.find("a.io", "x") == Credentials("old", "1")
    write(home / ".docker/config.json", {"auths": {"a.io": entry("new:1")}})
    assert credentials.find("a.io", "x") == Credentials("new", "1")
    assert credentials.find("b.io", "x") == Credentials("old", "2")


def test_a_fifo_in_place_of_the_file_does_not_hang(home: Path) -> None:
    import os

    (home / ".docker").mkdir()
    os.mkfifo(home / ".docker/config.json")
    assert credentials.find("a.io", "x") is None


def test_a_huge_or_deep_file_is_refused(home: Path) -> None:
    for document in ("[" * 100_000, " " * (2 << 20)):
        write(home / ".docker/config.json", document)
        with pytest.raises(SettingsError, match=r"config\.json"):
            credentials.find("a.io", "x")
