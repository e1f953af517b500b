"""hooks: programs that run at six moments of a container's life, with its state on stdin (runtime-spec, config.md "POSIX-platform Hooks").

A hook gets the environment its entry names and nothing of the process's or ours, descriptors 0 to 2, and / as working directory. What it prints is
part of the error where it fails, and otherwise nobody's. One that is not done in time is killed with all that it started and that did not
leave its session. Hooks after the program's start are run from lifecycle_hooks.py.
"""

from __future__ import annotations

import os

from crate_runc import strict_json
from crate_runc.errors import StepError
from crate_runc.kernel import spawn
from crate_runc.steps.step import ChildStep, ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config, ParentContext

FAILURE = "failure"
"""In the container's directory: why a startContainer hook kept its program from running."""


def plan_parent(config: Config) -> list[ParentStep]:
    hooks = config.get("hooks", {})
    return [HostHook(kind, entry) for kind in ("prestart", "createRuntime") for entry in hooks.get(kind, [])]


def plan_child(config: Config, kind: str) -> list[ChildStep]:
    """createContainer (before the root switch, so that the path is the host's) or startContainer."""
    return [ContainerHook(kind, entry) for entry in config.get("hooks", {}).get(kind, [])]


class HostHook(ParentStep):
    __slots__ = ("entry", "kind")

    def __init__(self, kind: str, entry: dict[str, Any]) -> None:
        self.kind = kind
        self.entry = entry

    def describe(self) -> str:
        return f"run the {self.kind} hook {self.entry['path']}"

    def apply(self, parent: ParentContext) -> None:
        run(self.kind, self.entry, {**parent.hook_state, "status": "creating", "pid": parent.pid})


class ContainerHook(ChildStep):
    __slots__ = ("entry", "kind")

    def __init__(self, kind: str, entry: dict[str, Any]) -> None:
        self.kind = kind
        self.entry = entry

    def describe(self) -> str:
        return f"run the {self.kind} hook {self.entry['path']}"

    def apply(self, child: ChildContext) -> None:
        late = self.kind == "startContainer"
        state = {**child.hook_state, "status": "created" if late else "creating", "pid": child.own_pid()}
        try:
            run(self.kind, self.entry, state)
        except StepError as error:
            if not late:
                raise
            os.write(child.fds["failure", ""], str(error).encode("utf-8", "replace"))
            os._exit(1)  # `start` tells it


def run(kind: str, entry: dict[str, Any], state: dict[str, Any]) -> None:
    """Raises StepError where the hook fails or is not done in time; then it has been killed."""
    path = entry["path"]
    environment = dict(pair.partition("=")[::2] for pair in entry.get("env", []))
    try:
        status, output = spawn.run(
            path, entry.get("args") or [path], environment, strict_json.dumps(state), timeout=entry.get("timeout")
        )
    except TimeoutError:
        raise StepError("hooks", 110, f"error running {kind} hook {path}: not done after {entry['timeout']} s") from None
    except OSError as error:
        raise StepError(
            "hooks", error.errno or 0, f"error running {kind} hook {path}: {(error.strerror or '').lower()}"
        ) from None
    if status != 0:
        text = output.decode("utf-8", "replace").strip()
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise StepError("hooks", 0, f"error running {kind} hook {path}: {how}" + (f", output: {text}" if text else ""))
