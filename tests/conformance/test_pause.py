"""pause and resume: what runc(8) says of them, and what other commands do with a paused container."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


@pytest.fixture
def counting(bundle: Bundle) -> Bundle:
    """Its file grows as long as it runs."""
    bundle.config["root"]["readonly"] = False
    return bundle.script("while :; do echo >> /grows; sleep 0.05; done")


def size(bundle: Bundle) -> int:
    path = bundle.rootfs / "grows"
    return path.stat().st_size if path.exists() else 0


def test_processes_stand_still_and_go_on(runtime: OciRuntime, counting: Bundle) -> None:
    with runtime.running(counting) as identity:
        eventually(lambda: size(counting) > 0, "it runs")
        runtime.call("pause", identity)
        assert runtime.status(identity) == "paused"
        assert runtime.call("list").out.splitlines()[1].split()[2] == "paused"
        before = size(counting)
        subprocess.run(["sleep", "0.3"], check=True)
        assert size(counting) == before
        runtime.call("resume", identity)
        assert runtime.status(identity) == "running"
        eventually(lambda: size(counting) > before, "it runs again")


def test_a_created_container_can_be_paused(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.create(bundle.runs(*SLEEP))
    runtime.call("pause", identity)
    assert runtime.status(identity) == "paused"
    assert "cannot start a container in the paused state" in runtime.fails("start", identity).err
    runtime.call("resume", identity)
    assert runtime.status(identity) == "created"
    runtime.call("start", identity)
    runtime.call("delete", "--force", identity)


def test_twice_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert "container not paused" in runtime.fails("resume", identity).err
        runtime.call("pause", identity)
        assert "container not running" in runtime.fails("pause", identity).err
        runtime.call("resume", identity)
        assert "container not paused" in runtime.fails("resume", identity).err


def test_a_stopped_container_is_neither_paused_nor_resumed(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert "container not running" in runtime.fails("pause", identity).err
    assert "container not paused" in runtime.fails("resume", identity).err


def test_a_missing_container_does_not_exist(runtime: OciRuntime) -> None:
    for verb in ("pause", "resume"):
        assert "container does not exist" in runtime.fails(verb, "nosuch").err


def test_kill_ends_a_paused_container(runtime: OciRuntime, bundle: Bundle) -> None:
    """On cgroup v1 a frozen process does not even die, so it is thawed."""
    identity = runtime.start(bundle.runs(*SLEEP))
    runtime.call("pause", identity)
    runtime.call("kill", identity, "KILL")
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)


def test_another_signal_waits_for_the_container_to_be_resumed(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.script("trap 'echo TERM > /got; exit 0' TERM; touch /ready; while :; do sleep 0.1; done")
    identity = runtime.start(bundle)
    eventually(lambda: (bundle.rootfs / "ready").exists(), "the trap is set")
    runtime.call("pause", identity)
    runtime.call("kill", identity, "TERM")
    assert runtime.status(identity) == "paused"
    assert not (bundle.rootfs / "got").exists()
    runtime.call("resume", identity)
    runtime.wait_stopped(identity)
    assert (bundle.rootfs / "got").exists()


def test_delete_takes_a_paused_container_only_with_force(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs(*SLEEP))
    pid = runtime.pid(identity)
    runtime.call("pause", identity)
    assert "is not stopped: paused" in runtime.fails("delete", identity).err
    runtime.call("delete", "--force", identity)
    assert "container does not exist" in runtime.fails("state", identity).err
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "its process is gone")


def test_delete_force_ends_all_processes_of_a_paused_container_without_a_pid_namespace(
    runtime: OciRuntime, bundle: Bundle
) -> None:
    bundle.without_namespace("pid").script("sleep 1000 & exec sleep 1000")
    identity = runtime.start(bundle)
    pid = runtime.pid(identity)
    children = eventually(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split(), "it has a child") or []
    runtime.call("pause", identity)
    if runtime.name == "runc":
        runtime.call("resume", identity)  # runc 1.1 kills its first process alone, and thaws before the others get a signal
        runtime.call("kill", "--all", identity, "KILL")
    runtime.call("delete", "--force", identity)
    for one in (str(pid), *children):
        eventually(lambda one=one: not Path(f"/proc/{one}").exists() or _is_zombie(one), f"process {one} ends")  # type: ignore[misc]


def _is_zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_exec_in_a_paused_container_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.call("pause", identity)
        result = runtime.exec(identity, "true", status=255)
        assert "cannot exec in a paused container" in result.err
        runtime.call("resume", identity)
        runtime.exec(identity, "true")


def test_processes_of_a_paused_container_are_listed(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.call("pause", identity)
        assert runtime.call("ps", "--format", "json", identity).out == f"[{runtime.pid(identity)}]\n"
        runtime.call("resume", identity)


def test_no_container_is_made_in_a_paused_cgroup(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc":
        pytest.skip("needs a runtime that looks before it joins: runc 1.1 hangs")
    bundle.linux["cgroupsPath"] = f"/{runtime.identity()}-shared"
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.call("pause", identity)
        result = runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
        assert "frozen" in result.err
        assert runtime.status(identity) == "paused"
        runtime.call("resume", identity)
