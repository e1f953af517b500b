"""Logging in and out: a login is verified with the registry, then kept where podman keeps its own (containers-auth.json(5)), or with a credential helper.

Of the file only the registry's own entry is changed; it is replaced as a whole, readable for its owner alone.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from contextlib import contextmanager

from crate_engine.errors import AuthenticationRequired, SettingsError
from crate_engine.registry import credential_programs, credentials, session
from crate_engine.registry.auth import Credentials
from crate_engine.registry.session import Session
from crate_engine.store import durable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from crate_engine.registry.access import Access

_KEPT_BY_DOCKER = "https://index.docker.io/v1/"


def verify(registry: str, login: Credentials, access: Access, *, insecure: bool = False) -> None:
    """Ask the registry whether it takes this login. Raises AuthenticationRequired where it does not, RegistryError."""
    wire = session.wire(access, [registry] if insecure else [])
    try:
        own = Session(registry, wire, login=login)
        own.request("GET", "/v2/", scope="", what=f"log in to {registry}", light=True).close()
    except AuthenticationRequired as error:
        raise AuthenticationRequired(
            f"log in to {registry}: the registry refused the login", hint="check the user name and the password or token"
        ) from error
    finally:
        wire.close()


def save(key: str, login: Credentials, authfile: str | None = None) -> str:
    """Keep the login of a registry or of a repository in it; returns where: a path, or the name of a helper. Raises SettingsError, StoreError."""
    path = _own_file(authfile)
    with _locked(path):
        document = credentials.read(path) or {}
        helper = _helper(document, key)
        name = credentials.entry_key(document, key) or (
            _KEPT_BY_DOCKER if key == "docker.io" and path.endswith("/config.json") else key
        )
        auths = _auths(document, path)
        if helper:
            credential_programs.store(helper, name, login)
            auths[name] = {}
        else:
            plain = f"{login.username}:{login.password}".encode()
            auths[name] = {"auth": base64.b64encode(plain).decode("ascii")}
        _write(path, document)
    return f"docker-credential-{helper}" if helper else path


def forget(key: str, authfile: str | None = None) -> bool:
    """Whether there was a login of this registry in the file that `save` writes."""
    path = _own_file(authfile)
    if not os.path.exists(path):
        return False
    with _locked(path):
        document = credentials.read(path) or {}
        name = credentials.entry_key(document, key)
        helper = _helper(document, key)
        if name is None and not (helper and credential_programs.get(helper, key)):
            return False
        if helper:
            credential_programs.erase(helper, name or key)
        if name is not None:
            del _auths(document, path)[name]
            _write(path, document)
    return True


def forget_all(authfile: str | None = None) -> list[str]:
    """Every login of that file; returns whose they were."""
    path = _own_file(authfile)
    names = list(credentials.as_object((credentials.read(path) or {}).get("auths"))) if os.path.exists(path) else []
    return [name for name in names if forget(name, authfile)]


def _own_file(authfile: str | None) -> str:
    """The file that logins are written to: the first that is read, or the next where that one's directory cannot be made."""
    candidates = credentials.files(authfile)
    for path in candidates[:2]:
        path = os.path.realpath(path)  # a link to it is kept, and its target replaced
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        except OSError as error:
            if path == os.path.realpath(candidates[:2][-1]):
                raise SettingsError(f"keep logins in {path}: {error.strerror}") from error
            continue
        return path
    raise AssertionError("there is always a file")


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Two logins at the same time do not lose each other's: the directory is locked, which leaves no file behind."""
    try:
        fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise SettingsError(f"keep logins in {path}: {error.strerror}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _auths(document: dict[str, Any], path: str) -> dict[str, Any]:
    auths = document.setdefault("auths", {})
    if not isinstance(auths, dict):
        raise SettingsError(f"keep logins in {path}: its auths is no object", hint="repair or remove the file")
    return auths


def _helper(document: dict[str, Any], key: str) -> str:
    """The program that keeps this login by the file, or an empty text."""
    helper = credentials.as_object(document.get("credHelpers")).get(key) or document.get("credsStore")
    return helper if isinstance(helper, str) else ""


def _write(path: str, document: dict[str, Any]) -> None:
    durable.write(path, json.dumps(document, indent="\t", ensure_ascii=False).encode() + b"\n", 0o600)
