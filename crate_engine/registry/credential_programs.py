"""Programs that keep logins: the protocol of docker-credential-helpers, `docker-credential-NAME get|store|erase`, JSON on standard streams."""

from __future__ import annotations

import json
import os

from crate_engine import limits
from crate_engine.errors import SettingsError
from crate_engine.registry.auth import Credentials

_SECONDS = 30
_TOKEN_USER = "<token>"
"""The name that says: the secret is an identity token."""
_ABSENT = "credentials not found"


def get(name: str, key: str) -> Credentials | None:
    """What the helper `name` keeps for the server `key`; None where it keeps nothing, or is not installed. Raises SettingsError."""
    program = _program(name)
    if program is None:
        return None
    status, output = _run(program, "get", key.encode())
    if status != 0:
        return None
    try:
        answer = json.loads(output[: limits.TOKEN_BYTES])
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"ask credential helper {program}: it does not answer in JSON") from error
    answer = answer if isinstance(answer, dict) else {}
    username, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(username, str) or not isinstance(secret, str) or not secret:
        return None
    return Credentials(identity_token=secret) if username == _TOKEN_USER else Credentials(username, secret)


def store(name: str, key: str, login: Credentials) -> None:
    """Raises SettingsError, also where the helper is not installed."""
    username, secret = (_TOKEN_USER, login.identity_token) if login.identity_token else (login.username, login.password)
    document = {"ServerURL": key, "Username": username, "Secret": secret}
    _must(name, "store", json.dumps(document).encode())


def erase(name: str, key: str) -> None:
    """One that keeps nothing for it is no error."""
    _must(name, "erase", key.encode())


def _must(name: str, action: str, content: bytes) -> None:
    program = _program(name)
    if program is None:
        raise SettingsError(
            f"ask credential helper docker-credential-{name}: it is not installed", hint="install it, or take it out of the file"
        )
    status, output = _run(program, action, content)
    said = output.decode(errors="replace").strip()
    if status != 0 and not (action == "erase" and _ABSENT in said):
        shown = "".join(character if character.isprintable() else " " for character in said[:200])
        raise SettingsError(f"ask credential helper {program} to {action}: {shown or f'it ended with status {status}'}")


def _program(name: str) -> str | None:
    import shutil

    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise SettingsError(f"read logins: the credential helper {name[:64]!r} has no valid name")
    return shutil.which(f"docker-credential-{name}", path=os.environ.get("PATH") or os.defpath)


def _run(program: str, action: str, content: bytes) -> tuple[int, bytes]:
    import subprocess

    try:
        done = subprocess.run([program, action], input=content, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SettingsError(f"ask credential helper {program}: {error}") from error
    return done.returncode, done.stdout
