"""Logins that docker and podman keep (containers-auth.json(5), docker's config.json and .dockercfg): where they are, and the one for a registry.

The first file with an entry for the registry wins. An entry may also name a credential helper, which is asked. Reads alone; see `logins`.
"""

from __future__ import annotations

import base64
import json
import os

from crate_engine import limits
from crate_engine.errors import SettingsError
from crate_engine.registry import credential_programs
from crate_engine.registry.auth import Credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DOCKER_KEYS = ("docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io")
"""How docker.io is called in these files."""
_LEGACY = ".dockercfg"


def find(registry: str, repository: str = "", *, authfile: str | None = None) -> Credentials | None:
    """The login for `registry/repository`: of the repository, of a folder above it, or of the registry. Raises SettingsError.

    `authfile` is read alone, and must exist.
    """
    keys = _keys(registry, repository)
    for path in files(authfile):
        document = read(path, required=authfile is not None)
        if document is not None and (found := _entry(document, keys, path)):
            return found
    return None


def files(authfile: str | None = None) -> list[str]:
    """The files of logins, the first to be asked first: one alone where a flag or a variable names it."""
    environment = os.environ
    if named := authfile or environment.get("REGISTRY_AUTH_FILE"):
        return [named]
    if docker := environment.get("DOCKER_CONFIG"):
        return [f"{docker}/config.json"]
    home = environment.get("HOME", "")
    runtime = environment.get("XDG_RUNTIME_DIR")
    return [
        f"{runtime}/containers/auth.json" if runtime else f"/run/containers/{os.geteuid()}/auth.json",
        f"{environment.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json",
        f"{home}/.docker/config.json",
        f"{home}/{_LEGACY}",
    ]


def read(path: str, *, required: bool = False) -> dict[str, Any] | None:
    """The file as it is, in the shape of config.json; None where it is not there or not readable. Raises SettingsError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if required:
            raise SettingsError(f"read logins {path}: {error.strerror}") from error
        return None
    except OSError as error:
        raise SettingsError(f"read logins {path}: {error.strerror}") from error
    try:
        with open(fd, "rb") as file:
            raw = file.read(limits.TOKEN_BYTES + 1)
        if len(raw) > limits.TOKEN_BYTES:
            raise SettingsError(f"read logins {path}: it is larger than {limits.TOKEN_BYTES} bytes")
        document = json.loads(raw) if raw.strip() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"read logins {path}: {error}") from error
    if not isinstance(document, dict):
        return None
    return {"auths": document} if path.endswith(f"/{_LEGACY}") else document


def entry_key(document: dict[str, Any], key: str) -> str | None:
    """How the entry of a registry or repository is called in a file; None: it has none."""
    wanted = DOCKER_KEYS if key == "docker.io" else (key,)
    return next((name for name in as_object(document.get("auths")) if name in wanted or _host(name) in wanted), None)


def _keys(registry: str, repository: str) -> list[str]:
    keys = [f"{registry}/{repository}" if repository else registry]
    while "/" in keys[-1]:
        keys.append(keys[-1].rpartition("/")[0])
    return [*keys, *DOCKER_KEYS[1:]] if registry == "docker.io" else keys


def _entry(document: dict[str, Any], keys: list[str], path: str) -> Credentials | None:
    auths, helpers = (as_object(document.get(name)) for name in ("auths", "credHelpers"))
    hosts = {_host(key): value for key, value in auths.items()}
    for key in keys:
        if key in helpers:
            return credential_programs.get(str(helpers[key]), key)
        entry = as_object(auths.get(key) or hosts.get(key))
        if entry.get("auth") or entry.get("identitytoken"):
            return _decode(entry, key, path)
    store = document.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if (key in auths or key in hosts) and (found := credential_programs.get(store, key)):
                return found
    return None


def _host(key: str) -> str:
    """Docker writes some hosts as addresses: https://host/v1/"""
    return key.removeprefix("https://").removeprefix("http://").partition("/v1")[0].rstrip("/") if "://" in key else key


def as_object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _decode(entry: dict[str, Any], key: str, path: str) -> Credentials:
    try:
        username, _, password = base64.b64decode(str(entry.get("auth", "")), validate=True).decode().partition(":")
    except ValueError:
        raise SettingsError(f"read logins {path}: the entry of {key} cannot be decoded", hint=f"crate login {key}") from None
    token = entry.get("identitytoken", "")
    return Credentials(username, password.rstrip("\0"), token if isinstance(token, str) else "")
