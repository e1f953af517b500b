"""Whom a connection trusts, host by host."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from crate_engine.errors import SettingsError
from crate_engine.registry.trust import Trust, host_name


def trust(tmp_path: Path, **options: object) -> Trust:
    return Trust(directories=[str(tmp_path / "first"), str(tmp_path / "second")], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "verified"),
    [
        ("r.example", True),
        ("r.example:5000", True),
        ("localhost", False),
        ("localhost:5000", False),
        ("127.0.0.1:5000", False),
        ("127.9.9.9", False),
        ("[::1]:5000", False),
        ("localhost.example", True),
        ("127.0.0.1.example", True),
        ("0.0.0.0:5000", True),
        ("listed.example:5000", False),
        ("listed.example", True),
        ("listed.example:5001", True),
        ("sub.listed.example:5000", True),
    ],
)
def test_whose_certificate_is_checked(tmp_path: Path, host: str, verified: bool) -> None:
    assert trust(tmp_path, insecure=["listed.example:5000"]).verified(host) is verified


def test_the_flag_wins(tmp_path: Path) -> None:
    assert trust(tmp_path, insecure=["a.example"], tls_verify=True).verified("a.example")
    assert trust(tmp_path, tls_verify=True).verified("localhost:5000")
    assert not trust(tmp_path, tls_verify=False).verified("b.example")


def test_docker_io_may_be_listed_by_its_name(tmp_path: Path) -> None:
    assert not trust(tmp_path, insecure=["docker.io"]).verified("registry-1.docker.io")
    assert trust(tmp_path, insecure=["docker.io"]).verified("auth.docker.io")


def test_contexts_check_or_do_not(tmp_path: Path) -> None:
    made = trust(tmp_path)
    assert made.context("r.example").verify_mode == ssl.CERT_REQUIRED
    assert made.context("r.example").check_hostname
    assert made.context("localhost:5000").verify_mode == ssl.CERT_NONE
    assert made.context("r.example") is made.context("r.example")
    assert made.context("r.example") is not made.context("q.example")


def test_a_directory_for_a_loopback_host_turns_checking_on_only_with_an_authority(tmp_path: Path) -> None:
    directory = tmp_path / "first/localhost:5000"
    directory.mkdir(parents=True)
    assert not trust(tmp_path).verified("localhost:5000")
    (directory / "client.key").touch()
    assert not trust(tmp_path).verified("localhost:5000")
    (directory / "ca.crt").touch()
    assert trust(tmp_path).verified("localhost:5000")
    assert not trust(tmp_path).verified("localhost:5001")


def test_the_first_directory_for_a_host_is_the_only_one(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name / "r.example").mkdir(parents=True)
    (tmp_path / "second/r.example/ca.crt").write_text("nonsense")
    trust(tmp_path).context("r.example")
    (tmp_path / "first/r.example").rmdir()
    with pytest.raises(SettingsError, match=r"second/r\.example/ca\.crt"):
        trust(tmp_path).context("r.example")


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_files_that_are_no_certificates_are_named(tmp_path: Path, name: str) -> None:
    directory = tmp_path / "first/r.example"
    directory.mkdir(parents=True)
    (directory / name).write_text("nonsense")
    (directory / "client.key").write_text("nonsense")
    with pytest.raises(SettingsError, match=name.replace(".", r"\.")):
        trust(tmp_path).context("r.example")


def test_authorities_of_the_environment_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing"))
    with pytest.raises(SettingsError, match="missing"):
        trust(tmp_path).context("r.example")


@pytest.mark.parametrize(
    ("host", "name"), [("r.example", "r.example"), ("r.example:1", "r.example"), ("[::1]:1", "::1"), ("[fd00::1]", "fd00::1")]
)
def test_host_names(host: str, name: str) -> None:
    assert host_name(host) == name
