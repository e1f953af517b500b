"""Control groups: where they are, who is in them, and that they go. config-linux.md "Cgroups Path"; runc's cgroupfs driver."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")
PARENT = f"ct-parent-{os.getpid()}"


def mounts() -> list[tuple[str, Path]]:
    """(controller, mount point); the controller of cgroup2 is ""."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        words = right.split()
        if words[0] in ("cgroup", "cgroup2"):
            names = [""] if words[0] == "cgroup2" else [name for name in words[2].split(",") if name not in ("rw", "ro")]
            found += [(name, Path(left.split()[4])) for name in names]
    return found


@pytest.fixture
def parent() -> Iterator[str]:
    """A cgroup of this run, removed afterwards: runtimes leave the parents that they made."""
    yield PARENT
    for _, mount in mounts():
        if (mount / PARENT).is_dir():
            (mount / PARENT).rmdir()


def cgroups(pid: int | str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


def directory(pid: int, controller: str) -> Path:
    """Where the limits of a container are read."""
    name = "" if host.cgroup_mode() == "v2" else controller
    mount = dict(mounts())[name]
    path = next(path for names, path in cgroups(pid).items() if name in names.split(","))
    return Path(f"{mount}{path}")


def limit(pid: int, controller: str, v1: str, v2: str) -> str:
    return (directory(pid, controller) / (v2 if host.cgroup_mode() == "v2" else v1)).read_text().strip()


def test_absolute_path_starts_at_the_mount_point(runtime: OciRuntime, bundle: Bundle, parent: str) -> None:
    bundle.linux["cgroupsPath"] = f"/{parent}/one"
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert set(cgroups(runtime.pid(identity)).values()) == {f"/{parent}/one"}


def test_without_a_path_it_has_the_name_of_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        inside, own = cgroups(runtime.pid(identity)), cgroups("self")
        for names, path in inside.items():
            base = os.path.dirname(own[names]) if host.cgroup_mode() == "v2" else own[names]
            assert path == os.path.join(base, identity)


def test_relative_path_is_where_the_container_would_be_without_one(runtime: OciRuntime, bundle: Bundle, parent: str) -> None:
    if host.cgroup_mode() != "v2" and set(cgroups("self").values()) != {"/"}:
        names = [names for names, path in cgroups("self").items() if path == "/"]
    else:
        names = list(cgroups("self"))
    bundle.linux["cgroupsPath"] = f"{parent}-relative"
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        inside = cgroups(runtime.pid(identity))
        assert all(inside[name].endswith(f"/{parent}-relative") for name in names)


def test_path_with_parents_cannot_leave(runtime: OciRuntime, bundle: Bundle) -> None:
    """runc takes the parents out, crate-runc refuses: either way nothing is made beside the hierarchy's root."""
    bundle.linux["cgroupsPath"] = "/../../../ct-escape"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    runtime.call("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity(), status=None, **quiet)
    assert not any((mount.parent / "ct-escape").exists() for _, mount in mounts())


def test_limit_of_memory_and_swap_together(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["resources"]["memory"] = {"limit": 64 << 20, "swap": 96 << 20}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        found = limit(runtime.pid(identity), "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
        assert int(found) == (32 << 20 if host.cgroup_mode() == "v2" else 96 << 20)


def test_swap_below_memory_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["resources"]["memory"] = {"limit": 64 << 20, "swap": 32 << 20}
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())


def test_exec_joins_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        own = cgroups(runtime.pid(identity))
        text = runtime.exec(identity, "cat", "/proc/self/cgroup").out
        assert {line.split(":", 2)[1]: line.split(":", 2)[2] for line in text.splitlines()} == own


def test_ps_lists_every_process(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.script("sleep 1000 & exec sleep 1000")) as identity:
        pids = json.loads(runtime.call("ps", "--format", "json", identity).out)
        assert runtime.pid(identity) in pids
        assert len(pids) == 2
        lines = runtime.call("ps", identity, "-o", "pid,comm").out.splitlines()
        assert lines[0].split() == ["PID", "COMMAND"]
        assert {int(line.split()[0]) for line in lines[1:]} == set(pids)


def test_ps_of_a_stopped_container_fails_or_is_empty(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    result = runtime.call("ps", "--format", "json", identity, status=None)
    assert result.status != 0 or json.loads(result.out) in ([], None)


def test_delete_removes_them_with_what_the_container_made_inside(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        made = [
            Path(f"{mount}{path}")
            for name, mount in mounts()
            for names, path in cgroups(runtime.pid(identity)).items()
            if name in names.split(",")
        ]
        assert made
        for path in made:
            (path / "inner").mkdir()
        runtime.call("delete", "--force", identity)
        assert not [path for path in made if path.exists()]


def test_rootless_without_delegation_needs_none(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    assert rootless_runtime.output(rootless_bundle.script("echo here")).strip() == "here"


def test_rootless_limit_without_delegation_is_refused(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    if os.access(directory(os.getpid(), "pids"), os.W_OK) and not host.IS_ROOT:
        pytest.skip("this user may make control groups")
    rootless_bundle.linux["resources"] = {"pids": {"limit": 5}}
    result = rootless_runtime.fails("create", "--bundle", str(rootless_bundle.runs(*SLEEP).write()), rootless_runtime.identity())
    assert "cgroup" in result.err
