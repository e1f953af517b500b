"""crate-runc killed before any call that changes something: `delete --force` cleans up, nothing is left, and the id can be used again.

strace(1), detached so that it does not wait for containers, delivers SIGKILL at the entry of the k-th call of one kind in any process of the
program, so that the call is not made. Calls of which there are many are thinned out, evenly.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

CHANGING = (
    *(
        "openat",
        "mkdir",
        "mkdirat",
        "rename",
        "unlink",
        "rmdir",
        "mknodat",
        "symlinkat",
        "write",
        "sendto",
        "sendmsg",
        "ftruncate",
    ),
    *("clone", "clone3", "fork", "vfork", "unshare", "setns", "pidfd_send_signal", "kill", "execve", "prlimit64", "fcntl"),
    *("mount", "move_mount", "open_tree", "mount_setattr", "fsmount", "fsconfig", "pivot_root", "umount2", "chroot"),
    *("capset", "setresuid", "setgroups", "setsid", "seccomp", "bpf", "sethostname", "memfd_create", "add_key", "keyctl"),
)
QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
"""A container keeps these streams: nobody waits for the end of a pipe."""
PER_CALL = 6
"""So many points of each kind of call, spread over all of them."""


@pytest.fixture
def runtime_program(bin_directory: Path) -> tuple[str, str]:
    return "crate-runc", str(bin_directory / "crate-runc")


class Killer:
    """Runs one command line of crate-runc to its end, or to the point that it is killed at."""

    def __init__(self, runtime: OciRuntime) -> None:
        self._runtime = runtime
        self._strace = host.program("strace")

    def points(self, *words: str, undo: Callable[[], None]) -> list[tuple[str, int]]:
        """(call, k): what a whole run of the command makes, thinned out. `undo` ends what it left running."""
        log = self._runtime.directory / "strace"
        assert self._run(["-o", str(log), "-e", f"trace={','.join(CHANGING)}"], words) == 0
        undo()
        eventually(lambda: log.read_text() and not _is_open(log), "strace has written all")
        most: dict[str, int] = {}
        counts = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
        for (_, call), count in counts.items():
            most[call] = max(most.get(call, 0), count)
        log.unlink()
        step = {call: max(1, count // PER_CALL) for call, count in most.items()}
        return [(call, k) for call, count in sorted(most.items()) for k in range(1, count + 1, step[call])]

    def kill(self, call: str, k: int, *words: str) -> bool:
        """Whether the command did not succeed: it, or a child of it, was killed in time."""
        return self._run(["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={k}"], words) != 0

    def _run(self, flags: list[str], words: tuple[str, ...]) -> int:
        command = [self._strace, "-D", "-f", "-qq", *flags, *self._runtime.command(*words)]
        return self._runtime.account.run(command, cwd=self._runtime.directory, **QUIET).status


def _is_open(path: Path) -> bool:
    """By a strace of ours."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "strace\n" and str(path) in (process / "cmdline").read_text():
                return True
        except OSError:  # it is gone
            continue
    return False


@pytest.fixture
def killer(runtime: OciRuntime) -> Killer:
    return Killer(runtime)


def _cgroups(identity: str) -> list[str]:
    return [found for found, _, _ in os.walk("/sys/fs/cgroup") if found.endswith(identity)]


def _is_cleaned_up(runtime: OciRuntime, identity: str) -> None:
    runtime.call("delete", "--force", identity, timeout=15)
    assert not (runtime.root / identity).exists()
    eventually(lambda: not _cgroups(identity), f"the control groups of {identity} are gone")


def _bundle(bundle: Bundle) -> Bundle:
    bundle.runs("sleep", "1000")
    bundle.namespace("cgroup")
    bundle.write()
    return bundle


def test_create(runtime: OciRuntime, bundle: Bundle, killer: Killer) -> None:
    identity = runtime.identity()
    words = ("create", "--bundle", str(_bundle(bundle).path), identity)
    points = killer.points(*words, undo=lambda: _is_cleaned_up(runtime, identity))
    assert len(points) > 40
    killed = 0
    for call, k in points:
        killed += killer.kill(call, k, *words)
        _is_cleaned_up(runtime, identity)
    assert killed > 0.8 * len(points), "the kills came in time"
    runtime.call(*words, **QUIET)
    assert runtime.status(identity) == "created"


def test_start(runtime: OciRuntime, bundle: Bundle, killer: Killer) -> None:
    """Whatever was done of it: the container is created, running or stopped, and goes away when it is told to."""
    identity = runtime.identity()
    create = ("create", "--bundle", str(_bundle(bundle).path), identity)
    runtime.call(*create, **QUIET)
    for call, k in killer.points("start", identity, undo=lambda: _is_cleaned_up(runtime, identity)):
        runtime.call(*create, **QUIET)
        killer.kill(call, k, "start", identity)
        assert runtime.status(identity) in ("created", "running", "stopped")
        _is_cleaned_up(runtime, identity)


def test_delete(runtime: OciRuntime, bundle: Bundle, killer: Killer) -> None:
    """A second one finishes what the first began."""
    identity = runtime.identity()
    create = ("create", "--bundle", str(_bundle(bundle).path), identity)
    runtime.call(*create, **QUIET)
    for call, k in killer.points("delete", "--force", identity, undo=lambda: None):
        runtime.call(*create, **QUIET)
        killer.kill(call, k, "delete", "--force", identity)
        _is_cleaned_up(runtime, identity)


def test_exec(runtime: OciRuntime, bundle: Bundle, killer: Killer) -> None:
    """The container goes on, and takes the next exec."""
    identity = runtime.start(_bundle(bundle))
    for call, k in killer.points("exec", identity, "true", undo=lambda: None):
        killer.kill(call, k, "exec", identity, "true")
        assert runtime.status(identity) == "running"
    runtime.exec(identity, "true")
    eventually(lambda: runtime.exec(identity, "ps").out.count("true") == 0, "no process of a killed exec stays")


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_pause_and_resume(runtime: OciRuntime, bundle: Bundle, killer: Killer, verb: str) -> None:
    """Frozen or not: it is removed with all its processes, and can be resumed where it is not removed."""
    identity = runtime.identity()
    create = ("run", "--detach", "--bundle", str(_bundle(bundle).path), identity)

    def make() -> None:
        runtime.call(*create, **QUIET)
        if verb == "resume":
            runtime.call("pause", identity)

    make()
    for call, k in killer.points(verb, identity, undo=lambda: _is_cleaned_up(runtime, identity)):
        make()
        killer.kill(call, k, verb, identity)
        assert runtime.status(identity) in ("running", "paused")
        pid = runtime.pid(identity)
        _is_cleaned_up(runtime, identity)
        eventually(lambda pid=pid: not Path(f"/proc/{pid}/exe").exists(), "the frozen process has ended")  # type: ignore[misc]
    make()
    runtime.call("resume", identity, status=None)
    assert runtime.exec(identity, "echo", "on").out == "on\n"


def test_update(runtime: OciRuntime, bundle: Bundle, killer: Killer) -> None:
    """The container goes on, and takes the next update."""
    identity = runtime.start(_bundle(bundle))
    words = ("update", "--pids-limit", "77", "--memory", str(64 << 20), identity)
    for call, k in killer.points(*words, undo=lambda: None):
        killer.kill(call, k, *words)
        assert runtime.status(identity) == "running"
    runtime.call(*words)
    assert runtime.exec(identity, "echo", "on").out == "on\n"
