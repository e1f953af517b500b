from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from crate_engine import settings
from crate_engine.errors import SettingsError
from crate_engine.settings import Settings
from crate_engine.validate import load_schema

REPOSITORY = Path(__file__).parents[3]
EVERYTHING = """\
root: /srv/crate
runroot: /run/crate-test
runtime: crun
network: none
log_level: debug
stop_timeout: 3
insecure_registries: ["localhost:5000", "10.0.0.1", "[::1]:5000"]
http_proxy: proxy.example:3128
https_proxy: http://proxy.example:3129/
no_proxy: [10.0.0.0/8, .example.com]
dns: [9.9.9.9, "2620:fe::fe"]
pull: never
platform: linux/arm64/v8
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str | bytes, name: str = "config.yaml") -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return str(path)

    return write


def refusal(path: str) -> str:
    with pytest.raises(SettingsError) as raised:
        settings.load([path])
    return str(raised.value).replace(path, "FILE")


def test_every_key_is_read(write: Any) -> None:
    assert settings.load([write(EVERYTHING)]) == Settings(
        root="/srv/crate",
        runroot="/run/crate-test",
        runtime="crun",
        network="none",
        log_level="debug",
        stop_timeout=3,
        insecure_registries=("localhost:5000", "10.0.0.1", "[::1]:5000"),
        http_proxy="proxy.example:3128",
        https_proxy="http://proxy.example:3129/",
        no_proxy=("10.0.0.0/8", ".example.com"),
        dns=("9.9.9.9", "2620:fe::fe"),
        pull="never",
        platform="linux/arm64/v8",
    )


def test_schema_fields_and_documentation_name_the_same_keys() -> None:
    fields = [field.name for field in dataclasses.fields(Settings)]
    documented = [line[5:-1] for line in (REPOSITORY / "docs/settings.md").read_text().splitlines() if line.startswith("### `")]
    assert list(load_schema("crate/settings")["properties"]) == fields == documented
    assert [line.partition(":")[0] for line in EVERYTHING.splitlines()] == fields


def test_the_schema_describes_every_key() -> None:
    for key, schema in load_schema("crate/settings")["properties"].items():
        assert schema["description"].endswith("."), key


def test_a_later_file_wins_key_by_key(write: Any) -> None:
    host = write("runtime: runc\nnetwork: host\ndns: [9.9.9.9]\n", "host.yaml")
    user = write("runtime: crun\ndns: []\n", "user.yaml")
    assert settings.load([host, user]) == Settings(runtime="crun", network="host", dns=())


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "{}\n"])
def test_an_empty_file_changes_nothing(write: Any, text: str) -> None:
    assert settings.load([write(text)]) == Settings()


def test_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    assert settings.load([str(tmp_path / "none"), str(tmp_path / "none/none")]) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("network: host\nnetwrk: host\n", "settings FILE:2: netwrk: unknown key; did you mean network?"),
        ("stop-timeout: 3\n", "settings FILE:1: stop-timeout: unknown key; did you mean stop_timeout?"),
        ("\n\nxyzzy: 1\n", "settings FILE:3: xyzzy: unknown key"),
        ("pull: sometimes\n", 'settings FILE:1: pull: "sometimes" is not one of missing, always, newer, never'),
        ("network: privat\n", 'settings FILE:1: network: "privat" is not one of private, host, none; did you mean private?'),
        ("stop_timeout: soon\n", 'settings FILE:1: stop_timeout: must be a whole number, not "soon"'),
        ("stop_timeout: true\n", "settings FILE:1: stop_timeout: must be a whole number, not true"),
        ("stop_timeout: -1\n", "settings FILE:1: stop_timeout: -1 is less than 0"),
        ("root: data\n", 'settings FILE:1: root: "data" is not an absolute path'),
        ("runtime: bin/runc\n", 'settings FILE:1: runtime: "bin/runc" is not the name of a program or an absolute path'),
        ("dns:\n  - 9.9.9.9\n  - dns.example\n", 'settings FILE:3: dns[1]: "dns.example" is not an IPv4 or IPv6 address'),
        ("dns: 9.9.9.9\n", 'settings FILE:1: dns: must be a list, not "9.9.9.9"'),
        ("insecure_registries: ['http://a']\n", 'settings FILE:1: insecure_registries[0]: "http://a" is not HOST or HOST:PORT'),
        ("- network\n", 'settings FILE:1: must be a mapping, not ["network"]'),
        ("pull: always\n\npull: never\n", "settings FILE:3: pull: given twice"),
        ("dns: &a [9.9.9.9]\ninsecure_registries: *a\n", "settings FILE:1: aliases are not supported here"),
        ("a: 1\n1: 2\n", "settings FILE:2: '1' is not a key: keys are plain words"),
        ("root: !!python/name:os.system x\n", "settings FILE:1: 'x' cannot be read"),
        ("pull: 2001-99-99\n", "settings FILE:1: '2001-99-99' cannot be read"),
        ("dns: " + "[" * 40 + "]" * 40 + "\n", "settings FILE:1: more than 16 levels deep"),
        ("dns: [1\npull: never\n", "settings FILE:2: not YAML: did not find expected ',' or ']'"),
        ("root: a\nnetwrk: host\npull: x\n", 'settings FILE:1: root: "a" is not an absolute path (and 2 more)'),
    ],
)
def test_a_wrong_file_is_named_with_its_line_and_what_was_meant(write: Any, text: str, message: str) -> None:
    assert refusal(write(text)) == message


def test_a_file_that_is_not_text_is_refused_with_its_line(write: Any) -> None:
    assert refusal(write(b"pull: never\nroot: /\xff\n")) == "settings FILE:2: not UTF-8 text"
    assert refusal(write("root: /\x07")).startswith("settings FILE: not YAML: ")


def test_the_largest_file_is_read_and_a_larger_one_is_refused(write: Any) -> None:
    settings.load([write("pull: never\n#".ljust(settings.LARGEST_FILE, "x"))])
    assert refusal(write("pull: never\n#".ljust(settings.LARGEST_FILE + 1, "x"))) == "settings FILE: larger than 65536 bytes"


def test_deep_nesting_does_not_exhaust_the_stack(write: Any) -> None:
    assert "not YAML" in refusal(write("dns: " + "[" * 60_000))


def test_a_file_that_anyone_may_write_is_refused(write: Any) -> None:
    path = write("pull: never\n")
    os.chmod(path, 0o666)
    assert refusal(path) == "settings FILE: any user can change it"


def test_what_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert refusal(str(tmp_path / "fifo")) == "settings FILE: not a regular file"
    assert refusal(str(tmp_path)) == "settings FILE: not a regular file"


def test_crate_config_names_the_only_file_and_it_must_exist(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "HOST_FILE", write("network: host\n", "host.yaml"))
    monkeypatch.setenv("CRATE_CONFIG", write("pull: never\n"))
    assert settings.load() == Settings(pull="never")
    monkeypatch.setenv("CRATE_CONFIG", os.devnull)
    assert settings.load() == Settings()
    monkeypatch.setenv("CRATE_CONFIG", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match="no such file"):
        settings.load()


def test_the_users_file_wins_over_the_hosts(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CRATE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config/crate").mkdir(parents=True)
    monkeypatch.setattr(settings, "HOST_FILE", write("network: host\npull: never\n", "host.yaml"))
    (tmp_path / "config/crate/config.yaml").write_text("pull: always\n")
    assert settings.load() == Settings(network="host", pull="always")


def test_a_user_file_of_someone_else_is_not_obeyed(write: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CRATE_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(settings, "HOST_FILE", str(tmp_path / "absent"))
    (tmp_path / "crate").mkdir()
    (tmp_path / "crate/config.yaml").write_text("pull: always\n")
    someone_else = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: someone_else)
    assert settings.load() == Settings()


@pytest.mark.parametrize(
    ("value", "file"),
    [("/x", "/x/crate/config.yaml"), ("x", "/home/me/.config/crate/config.yaml"), ("", "/home/me/.config/crate/config.yaml")],
)
def test_a_relative_xdg_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str, file: str) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert settings.user_file() == file
