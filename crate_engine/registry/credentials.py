"""Logins that docker and podman keep (containers-auth.json(5), docker's config.json), read and never written.

Looked for in the order of those programs, podman's places first; the first file with an entry for the registry wins. An entry may also name
a credential helper, a program docker-credential-NAME, which is asked.
"""

from __future__ import annotations

import base64
import json
import os

from crate_engine import limits
from crate_engine.errors import SettingsError
from crate_engine.registry.auth import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_DOCKER_KEYS = ("docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io")
_HELPER_SECONDS = 30


def find(registry: str, repository: str) -> Credentials | None:
    """The login for `registry/repository`: of the repository, of a folder above it, or of the registry. Raises SettingsError."""
    keys = [f"{registry}/{repository}"]
    while "/" in keys[-1]:
        keys.append(keys[-1].rpartition("/")[0])
    if registry == "docker.io":
        keys += _DOCKER_KEYS
    for path in _files():
        document = _read(path)
        if document is not None and (found := _entry(document, keys, path)):
            return found
    return None


def _files() -> Iterator[str]:
    environment = os.environ
    if path := environment.get("REGISTRY_AUTH_FILE"):
        yield path
        return
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        yield f"{runtime}/containers/auth.json"
    elif os.geteuid() == 0:
        yield "/run/containers/0/auth.json"
    home = environment.get("HOME", "")
    yield f"{environment.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json"
    yield f"{environment.get('DOCKER_CONFIG') or home + '/.docker'}/config.json"


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            raw = file.read(limits.TOKEN_BYTES + 1)
        document = json.loads(raw)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except (OSError, ValueError) as error:
        raise SettingsError(f"read logins {path}: {error}") from error
    return document if isinstance(document, dict) else None


def _entry(document: dict[str, Any], keys: list[str], path: str) -> Credentials | None:
    auths, helpers = (_object(document.get(name)) for name in ("auths", "credHelpers"))
    # Docker writes some hosts as addresses: https://host/v1/
    hosts = {
        key.removeprefix("https://").removeprefix("http://").partition("/v1")[0].rstrip("/"): value
        for key, value in auths.items()
    }
    for key in keys:
        if key in helpers:
            return _ask_helper(str(helpers[key]), key)
        entry = _object(auths.get(key) or hosts.get(key))
        if entry.get("auth") or entry.get("identitytoken"):
            return _decode(entry, key, path)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if (key in auths or key in hosts) and (found := _ask_helper(store, key)):
                return found
    return None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(entry: dict[str, Any], key: str, path: str) -> Credentials:
    try:
        username, _, password = base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
    except ValueError:
        raise SettingsError(f"read logins {path}: the entry of {key} cannot be decoded", hint="log in again") from None
    token = entry.get("identitytoken", "")
    return Credentials(username, password.rstrip("\0"), token if isinstance(token, str) else "")


def _ask_helper(name: str, key: str) -> Credentials | None:
    """docker-credential-helpers' protocol: `get` with the host on standard input, a JSON object on standard output."""
    import shutil
    import subprocess

    if not name.replace("-", "").replace("_", "").isalnum():
        raise SettingsError(f"read logins: the credential helper {name[:64]!r} has no valid name")
    program = shutil.which(f"docker-credential-{name}")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False)
        answer = _object(json.loads(done.stdout[: limits.TOKEN_BYTES])) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"ask credential helper {program}: {error}") from error
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None
    # The name that says: the secret is an identity token.
    return Credentials(identity_token=secret) if username == "<token>" else Credentials(username, secret)
