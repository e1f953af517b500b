"""`crate login` and `crate logout`, by the command line, and what pulls make of them."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.integration.images.conftest import answer, layer
from tests.support.registry import Registry

REPOSITORY = Path(__file__).resolve().parents[3]
BASIC = "Basic " + base64.b64encode(b"me:secret").decode()


class Caller:
    """The command line with a home and a store of its own."""

    def __init__(self, directory: Path) -> None:
        self.home = directory
        self.environment = {
            "PATH": f"{directory}/bin:{os.environ['PATH']}",
            "HOME": str(directory),
            "XDG_RUNTIME_DIR": str(directory / "runtime"),
            "PYTHONPATH": str(REPOSITORY),
            "CRATE_CONFIG": "/dev/null",
        }
        self.authfile = directory / "runtime/containers/auth.json"

    def command(self, *words: str) -> list[str]:
        store = ["--root", str(self.home / "root"), "--runroot", str(self.home / "run")]
        return [sys.executable, "-m", "crate_engine.cli", *store, *words]

    def __call__(self, *words: str, status: int | None = 0, stdin: str = "") -> str:
        """Standard output and error."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            text=True,
            timeout=60,
            check=False,
        )
        assert status in (None, done.returncode), done.stdout
        return done.stdout

    def login(self, host: str, password: str = "secret", status: int = 0, *more: str) -> str:
        return self("login", "-u", "me", "--password-stdin", *more, host, status=status, stdin=password)

    def kept(self, path: Path | None = None) -> Any:
        return json.loads((path or self.authfile).read_text())


@pytest.fixture
def crate(tmp_path: Path) -> Caller:
    (tmp_path / "runtime").mkdir()
    return Caller(tmp_path)


def said(request: Any, status: int, content: bytes = b"{}", challenge: str = "") -> bool:
    answer(request, status, content, **({"WWW-Authenticate": challenge} if challenge else {}))
    return True


@pytest.fixture
def basic(server: Any) -> Any:
    server.image("app", "1", layers=[layer({"file": b"content"})])
    server.fault = lambda request: (
        request.headers.get("Authorization") != BASIC and said(request, 401, challenge='Basic realm="x"')
    )
    return server


@pytest.fixture
def bearer(server: Any) -> Any:
    """Wants a token of /token, which gives one of another kind to those who are logged in."""
    server.image("app", "1", layers=[layer({"file": b"content"})])

    def fault(request: Any) -> bool:
        if request.path.startswith("/token"):
            given = request.headers.get("Authorization")
            if given not in (None, BASIC):
                return said(request, 401)
            return said(request, 200, b'{"token":"%s"}' % (b"anonymous" if given is None else b"full"))
        if request.headers.get("Authorization") == "Bearer full":
            return False
        if request.headers.get("Authorization") == "Bearer anonymous":
            return said(request, 403, b'{"errors":[{"code":"DENIED","message":"requested access is denied"}]}')
        return said(request, 401, challenge=f'Bearer realm="http://{server.host}/token",service="s"')

    server.fault = fault
    return server


def test_a_login_is_verified_kept_and_used(basic: Any, crate: Caller) -> None:
    assert "crate login" in crate("pull", f"{basic.host}/app:1", status=1)
    assert "Login Succeeded" in crate.login(basic.host)
    assert crate.kept() == {"auths": {basic.host: {"auth": base64.b64encode(b"me:secret").decode()}}}
    assert stat.S_IMODE(crate.authfile.stat().st_mode) == 0o600
    assert stat.S_IMODE(crate.authfile.parent.stat().st_mode) == 0o700
    crate("pull", "-q", f"{basic.host}/app:1")
    assert crate("login", "--get-login", basic.host) == "me\n"
    assert f"Already logged in to {basic.host}" in crate("login", basic.host)


@pytest.mark.parametrize("kind", ["basic", "bearer"])
def test_a_login_that_the_registry_refuses_is_not_kept(kind: str, crate: Caller, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(kind)
    message = crate.login(server.host, "wrong", 1)
    assert "the registry refused the login" in message
    assert message.count("\n") == 2  # the error and the hint
    assert not crate.authfile.exists()
    assert "there is none" in crate("login", "--get-login", server.host, status=1)


def test_a_token_service_verifies_the_login_and_pulls_use_it(bearer: Any, crate: Caller) -> None:
    message = crate("pull", f"{bearer.host}/app:1", status=1)
    assert "requested access is denied" in message
    assert f"crate login {bearer.host}" in message
    crate.login(bearer.host)
    bearer.log.clear()
    crate("pull", "-q", f"{bearer.host}/app:1")
    asked = [parse_qs(urlsplit(path).query) for path, _ in bearer.log if path.startswith("/token")]
    assert asked == [{"service": ["s"], "scope": ["repository:app:pull"]}]
    assert {headers.get("Authorization") for headers in bearer.requests("/v2/app/blobs/")} == {"Bearer full"}


def test_a_registry_that_is_not_there_keeps_nothing(crate: Caller) -> None:
    assert "127.0.0.1:1" in crate.login("127.0.0.1:1", "secret", 1)
    assert not crate.authfile.exists()


def test_what_else_is_in_the_file_stays(basic: Any, crate: Caller) -> None:
    crate.authfile.parent.mkdir()
    before = {
        "auths": {"other.example": {"auth": "eDp5"}, f"{basic.host}/team": {"auth": "eDp5"}},
        "HttpHeaders": {"a": "b"},
        "x": [1],
    }
    crate.authfile.write_text(json.dumps(before))
    crate.authfile.chmod(0o644)
    crate.login(basic.host)
    after = crate.kept()
    assert list(after["auths"]) == ["other.example", f"{basic.host}/team", basic.host]
    del after["auths"][basic.host]
    assert after == before
    assert stat.S_IMODE(crate.authfile.stat().st_mode) == 0o600
    assert "Removed login credentials" in crate("logout", basic.host)
    assert crate.kept() == before
    assert "there is no login" in crate("logout", basic.host, status=1)


def test_a_damaged_file_is_left_alone(basic: Any, crate: Caller) -> None:
    crate.authfile.parent.mkdir()
    crate.authfile.write_text("{ not json")
    assert "auth.json" in crate.login(basic.host, "secret", 1)
    assert crate.authfile.read_text() == "{ not json"


def test_a_link_is_kept_and_its_target_written(basic: Any, crate: Caller) -> None:
    target = crate.home / "dotfiles.json"
    crate.authfile.parent.mkdir()
    crate.authfile.symlink_to(target)
    crate.login(basic.host)
    assert crate.authfile.is_symlink()
    assert basic.host in crate.kept(target)["auths"]


def test_logins_at_the_same_time_lose_none(basic: Any, crate: Caller) -> None:
    names = [f"{basic.host}/team{number}" for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(crate.login, names))
    assert sorted(crate.kept()["auths"]) == names
    assert list(crate.authfile.parent.iterdir()) == [crate.authfile]


def test_an_authfile_is_used_alone(basic: Any, crate: Caller) -> None:
    own = crate.home / "own.json"
    crate.login(basic.host, "secret", 0, "--authfile", str(own))
    assert not crate.authfile.exists()
    crate("pull", f"{basic.host}/app:1", status=1)
    crate("pull", "-q", "--authfile", str(own), f"{basic.host}/app:1")
    assert "No such file" in crate("pull", "--authfile", f"{own}.missing", f"{basic.host}/app:1", status=1)
    crate("logout", "--authfile", str(own), basic.host)
    assert crate.kept(own)["auths"] == {}


def test_in_dockers_file_docker_finds_the_login(basic: Any, crate: Caller) -> None:
    folder = crate.home / "docker"
    crate.environment["DOCKER_CONFIG"] = str(folder)
    crate.login(basic.host)
    assert list(crate.kept(folder / "config.json")["auths"]) == [basic.host]
    crate("logout", "--all")
    assert crate.kept(folder / "config.json")["auths"] == {}


def test_a_helper_keeps_the_login_where_the_file_names_one(basic: Any, crate: Caller) -> None:
    helper = crate.home / "bin/docker-credential-test"
    helper.parent.mkdir()
    helper.write_text(
        '#!/bin/sh\nf=$HOME/kept\necho "$1" >> "$HOME/calls"\ncase $1 in\nstore) cat > "$f";;\nget) [ -s "$f" ] && cat "$f" || { echo'
        ' "credentials not found in native keychain"; exit 1; };;\nerase) rm -f "$f";;\nesac\n'
    )
    helper.chmod(0o755)
    crate.authfile.parent.mkdir()
    crate.authfile.write_text('{"credsStore":"test"}')
    crate.login(basic.host)
    assert crate.kept() == {"credsStore": "test", "auths": {basic.host: {}}}
    kept = json.loads((crate.home / "kept").read_text())
    assert kept == {"ServerURL": basic.host, "Username": "me", "Secret": "secret"}
    crate("pull", "-q", f"{basic.host}/app:1")
    crate("logout", basic.host)
    assert not (crate.home / "kept").exists()
    assert crate.kept() == {"credsStore": "test", "auths": {}}
    crate.authfile.write_text(json.dumps({"credHelpers": {basic.host: "missing"}}))
    assert "is not installed" in crate.login(basic.host, "secret", 1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "x", "--password-stdin", "-u", "me"), "exclude each other"),
        (("--password-stdin",), "needs --username"),
        (("-u", "me"), "no terminal"),
        (("-u", "a:b", "-p", "x"), "without a colon"),
        (("-u", "me", "-p", ""), "not empty"),
    ],
)
def test_what_cannot_be_a_login_is_refused_before_anything_is_asked(
    basic: Any, crate: Caller, words: tuple[str, ...], said: str
) -> None:
    assert said in crate("login", *words, basic.host, status=1)
    assert basic.log == []


@pytest.mark.parametrize("name", ["a b", "host:99999", "user@host", "host/UPPER", "host/a:tag", "../x", ""])
def test_what_is_no_registry_is_refused(crate: Caller, name: str) -> None:
    if name:
        crate("login", "-u", "me", "-p", "x", name, status=1)
    assert not crate.authfile.exists()


def test_a_password_in_the_command_line_is_warned_of(basic: Any, crate: Caller) -> None:
    assert "--password-stdin" in crate("login", "-u", "me", "-p", "secret", basic.host)


def test_at_a_terminal_name_and_password_are_asked_for_and_the_password_is_not_shown(basic: Any, crate: Caller) -> None:
    import pty

    parent, child = pty.openpty()
    process = subprocess.Popen(
        crate.command("login", basic.host),
        stdin=child,
        stdout=child,
        stderr=child,
        env=crate.environment,
        start_new_session=True,
        preexec_fn=lambda: _controlling(child),
    )
    os.close(child)
    shown = b""
    for prompt, reply in ((b"Username: ", b"me\n"), (b"Password: ", b"secret\n")):
        while prompt not in shown:
            shown += os.read(parent, 1024)
        os.write(parent, reply)
    assert process.wait(30) == 0
    while b"Succeeded" not in shown:
        shown += os.read(parent, 1024)
    os.close(parent)
    assert b"secret" not in shown


def _controlling(terminal: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


# the real registry, and the other programs


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Registry]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("needs docker-registry")
    try:
        crypt = ctypes.CDLL("libcrypt.so.1").crypt
    except OSError:
        pytest.skip("needs libcrypt, to make a password file")
    crypt.restype = ctypes.c_char_p
    hashed = crypt(b"secret", b"$2y$05$abcdefghijklmnopqrstuu")
    if not hashed or not hashed.startswith(b"$2y$"):
        pytest.skip("needs a libcrypt with bcrypt")
    directory = tmp_path / "registry"
    directory.mkdir()
    (directory / "passwords").write_bytes(b"me:" + hashed + b"\n")
    made = Registry(program, directory, f"auth:\n  htpasswd:\n    realm: test\n    path: {directory}/passwords\n")
    yield made
    made.stop()


def test_the_real_registry_takes_the_login_and_podman_and_skopeo_find_it(real: Registry, crate: Caller) -> None:
    crate.login(real.address, "wrong", 1)
    crate.login(real.address)
    environment = crate.environment | {"HOME": str(crate.home)}
    if podman := shutil.which("podman"):
        shown = subprocess.run(
            [podman, "login", "--get-login", real.address], env=environment, capture_output=True, check=True, text=True
        )
        assert shown.stdout == "me\n"
    if skopeo := shutil.which("skopeo"):
        done = subprocess.run(
            [skopeo, "login", "--tls-verify=false", real.address],
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert "valid" in done.stdout, done
        subprocess.run([skopeo, "logout", real.address], env=environment, capture_output=True, check=True)
        assert "there is none" in crate("login", "--get-login", real.address, status=1)
        command = [skopeo, "login", "--tls-verify=false", "-u", "me", "-p", "secret", real.address]
        subprocess.run(command, env=environment, capture_output=True, check=True)
        assert crate("login", "--get-login", real.address) == "me\n"
