"""Hooks that the commands run themselves, after `create`: poststart and poststop; and how `start` learns that a startContainer hook failed.

runtime-spec 1.3, runtime.md "Lifecycle": where a hook before or right after the program's start fails, the container is stopped and destroyed; a
failing poststop hook is a warning, and the others run all the same. The hooks of `create` are steps.
"""

from __future__ import annotations

import os

from crate_runc import errors
from crate_runc.errors import StepError
from crate_runc.steps import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.state.record import ContainerState

_LIMIT = 64 << 10  # bytes of a failure's text
_STATE = ("ociVersion", "id", "status", "pid", "bundle", "annotations")


def poststart(state: ContainerState, directory: str) -> None:
    """The gate is open. Raises StepError where a startContainer hook kept the program from running, or one of these fails; the caller then
    destroys the container. `directory` is the container's own."""
    text = _failure(directory)
    if text:
        raise StepError("hooks", 0, text)
    for entry in state.config["hooks"].get("poststart", []):
        hooks.run("poststart", entry, _given(state, "running"))


def poststop(state: ContainerState) -> None:
    """All run: the container is gone anyway."""
    for entry in state.config["hooks"].get("poststop", []):
        try:
            hooks.run("poststop", entry, _given(state, "stopped"))
        except StepError as error:
            errors.warnings.append(str(error))


def open_failure(directory: str) -> int:
    """Where the container's process writes why it ends before its program runs; the caller closes it."""
    return os.open(f"{directory}/{hooks.FAILURE}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _failure(directory: str) -> str:
    try:
        with open(f"{directory}/{hooks.FAILURE}", "rb", buffering=0) as file:
            return (file.read(_LIMIT) or b"").decode("utf-8", "replace")
    except FileNotFoundError:
        return ""  # no hook could fail


def _given(state: ContainerState, status: str) -> dict[str, Any]:
    value = state.as_state_json(status)
    return {name: value[name] for name in _STATE if name in value}
