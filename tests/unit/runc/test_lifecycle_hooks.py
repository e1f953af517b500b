from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from crate_runc import errors, lifecycle_hooks
from crate_runc.errors import StepError
from crate_runc.state.record import ContainerState
from crate_runc.steps import hooks


def _state(**lists: list[str]) -> ContainerState:
    """A container whose hooks are shell scripts."""
    entries = {kind: [_hook(script) for script in scripts] for kind, scripts in lists.items()}
    config: dict[str, Any] = {"hooks": entries, "annotations": {"a": "b"}}
    state = ContainerState(id="c", bundle="/b", rootfs="/b/rootfs", config=config, owner=0, created="now")
    state.pid = 7
    return state


def _hook(script: str) -> dict[str, Any]:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}


@pytest.fixture(autouse=True)
def no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors, "warnings", [])


def test_poststart_hooks_get_the_state_of_a_running_container(tmp_path: Path) -> None:
    lifecycle_hooks.poststart(_state(poststart=[f"cat > {tmp_path}/state"]), str(tmp_path))
    state = json.loads((tmp_path / "state").read_text())
    assert (state["id"], state["status"], state["pid"], state["bundle"], state["annotations"]) == (
        "c",
        "running",
        7,
        "/b",
        {"a": "b"},
    )


def test_the_first_poststart_hook_that_fails_is_the_last(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="error running poststart hook /bin/sh: exit status 3, output: why"):
        lifecycle_hooks.poststart(_state(poststart=["echo why; exit 3", f"touch {tmp_path}/second"]), str(tmp_path))
    assert not (tmp_path / "second").exists()


def test_a_failed_start_container_hook_is_told_and_nothing_else_runs(tmp_path: Path) -> None:
    fd = lifecycle_hooks.open_failure(str(tmp_path))
    assert not os.get_inheritable(fd)
    os.write(fd, "why \u00e9".encode())
    os.close(fd)
    with pytest.raises(StepError, match=r"^why \u00e9$"):
        lifecycle_hooks.poststart(_state(poststart=[f"touch {tmp_path}/ran"]), str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_start_container_hooks_that_did_not_fail_say_nothing(tmp_path: Path) -> None:
    os.close(lifecycle_hooks.open_failure(str(tmp_path)))
    lifecycle_hooks.poststart(_state(startContainer=["true"]), str(tmp_path))
    assert (tmp_path / hooks.FAILURE).stat().st_mode & 0o077 == 0


def test_all_poststop_hooks_run_and_failures_are_warnings(tmp_path: Path) -> None:
    scripts = [f"cat > {tmp_path}/first; exit 1", "kill -9 $$", f"cat > {tmp_path}/third"]
    lifecycle_hooks.poststop(_state(poststop=scripts))
    state = json.loads((tmp_path / "third").read_text())
    assert (state["status"], state["pid"]) == ("stopped", 0)
    assert len(errors.warnings) == 2
    assert "exit status 1" in errors.warnings[0]
    assert "signal 9" in errors.warnings[1]
