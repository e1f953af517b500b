"""create, start, state, kill, delete, list, run: what runc(8) and the lifecycle of runtime-spec say of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


def test_create_waits_for_start(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    identity = runtime.create(bundle.script("echo started > /mark; sleep 1000"))
    assert runtime.status(identity) == "created"
    assert not (bundle.rootfs / "mark").exists()
    runtime.call("start", identity)
    eventually(lambda: (bundle.rootfs / "mark").exists(), "the program runs")
    assert runtime.status(identity) == "running"


def test_state_has_what_the_specification_and_runc_name(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["annotations"] = {"org.example.key": "value"}
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        state = runtime.state(identity)
        pid = state["pid"]
        assert Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:2] == list(SLEEP)
    assert state["id"] == identity
    assert state["status"] == "running"
    assert state["bundle"] == str(bundle.path)
    assert state["rootfs"] == str(bundle.rootfs)
    assert state["annotations"]["org.example.key"] == "value"
    assert state["ociVersion"].startswith("1.")
    assert set(state) <= {"ociVersion", "id", "status", "pid", "bundle", "rootfs", "created", "annotations", "owner"}
    created = datetime.fromisoformat(state["created"][:19])
    assert abs((datetime.now(UTC).replace(tzinfo=None) - created).total_seconds()) < 300


def test_state_of_a_stopped_container_has_no_pid(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert runtime.state(identity)["pid"] == 0


def test_bundle_is_the_working_directory_by_default(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.runs("/bin/echo", "here").write()
    assert runtime.call("run", runtime.identity(), cwd=bundle.path).out == "here\n"


def test_run_exits_with_the_status_of_the_process(runtime: OciRuntime, bundle: Bundle) -> None:
    assert runtime.run(bundle.script("exit 7"), status=7).err == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_run_exits_with_128_and_the_signal(runtime: OciRuntime, bundle: Bundle, number: signal.Signals) -> None:
    # without a pid namespace of its own: its first process would ignore most signals from itself
    bundle.without_namespace("pid").script(f"kill -{int(number)} $$")
    runtime.run(bundle, status=128 + number)


def test_run_passes_standard_streams(runtime: OciRuntime, bundle: Bundle) -> None:
    result = runtime.run(bundle.script("cat; echo problem >&2"), input="from outside")
    assert (result.out, result.err) == ("from outside", "problem\n")


def test_run_leaves_no_state(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.run(bundle.runs("/bin/true"))
    assert list(runtime.root.iterdir()) == []


def test_run_keeps_the_container_when_asked(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.identity()
    runtime.call("run", "--keep", "--bundle", str(bundle.runs("/bin/true").write()), identity)
    assert runtime.status(identity) == "stopped"


def test_detached_run_returns_and_leaves_it_running(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.identity()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    runtime.call("run", "--detach", "--bundle", str(bundle.runs(*SLEEP).write()), identity, **quiet)
    assert runtime.status(identity) == "running"


def test_pid_file_holds_the_pid_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    file = runtime.directory / "pid"
    identity = runtime.create(bundle.runs(*SLEEP), "--pid-file", str(file))
    assert file.read_text() == str(runtime.pid(identity))


def test_kill_is_term_by_default(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.script("trap 'echo TERM > /got; exit 0' TERM; touch /ready; while :; do sleep 0.1; done")
    identity = runtime.start(bundle)
    eventually(lambda: (bundle.rootfs / "ready").exists(), "the trap is set")
    runtime.call("kill", identity)
    runtime.wait_stopped(identity)
    assert (bundle.rootfs / "got").read_text() == "TERM\n"


@pytest.mark.parametrize("name", ["KILL", "SIGKILL", "9", "kill"])
def test_kill_takes_names_and_numbers(runtime: OciRuntime, bundle: Bundle, name: str) -> None:
    identity = runtime.start(bundle.runs(*SLEEP))
    runtime.call("kill", identity, name)
    runtime.wait_stopped(identity)


@pytest.mark.parametrize("name", ["35", "RTMIN+1", "SIGRTMIN+1", "sigrtmin+1", "SIGRTMAX-29"])
def test_kill_takes_real_time_signals(runtime: OciRuntime, bundle: Bundle, name: str) -> None:
    if runtime.name == "runc" and name != "35":
        pytest.skip("runc knows no names of real-time signals")
    bundle.config["root"]["readonly"] = False
    identity = runtime.start(bundle.script("trap 'echo got > /got; exit' 35; touch /ready; while :; do sleep 0.1; done"))
    eventually(lambda: (bundle.rootfs / "ready").exists(), "the trap is set")
    runtime.call("kill", identity, name)
    runtime.wait_stopped(identity)
    assert (bundle.rootfs / "got").read_text() == "got\n"


def test_kill_with_zero_asks_whether_the_process_is_there(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.call("kill", identity, "0")
        assert runtime.status(identity) == "running"
        runtime.call("kill", identity, "KILL")
        runtime.wait_stopped(identity)
        runtime.fails("kill", identity, "0")


def test_kill_of_an_unknown_signal_does_nothing(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert "NOSUCH" in runtime.fails("kill", identity, "NOSUCH").err.upper()
        assert runtime.status(identity) == "running"


def test_kill_ends_a_container_that_was_never_started(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.create(bundle.runs(*SLEEP))
    runtime.call("kill", identity, "KILL")
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)


def test_kill_all_reaches_every_process_without_a_pid_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("pid").script("sleep 1000 & sleep 1000")
    identity = runtime.start(bundle)
    init = runtime.pid(identity)
    children = eventually(lambda: Path(f"/proc/{init}/task/{init}/children").read_text().split(), "it has a child")
    runtime.call("kill", "--all", identity, "KILL")
    for pid in (str(init), *children):
        eventually(lambda pid=pid: not _runs(int(pid)), f"process {pid} ends")  # type: ignore[misc]


def test_kill_of_a_stopped_container_says_so(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert "container not running" in runtime.fails("kill", identity, "TERM").err


def test_delete_refuses_a_running_container(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert "is not stopped: running" in runtime.fails("delete", identity).err
        assert runtime.status(identity) == "running"


def test_delete_force_ends_a_running_container(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs(*SLEEP))
    pid = runtime.pid(identity)
    runtime.call("delete", "--force", identity)
    assert not _runs(pid)
    assert "does not exist" in runtime.fails("state", identity).err


def test_delete_of_a_created_container(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.create(bundle.runs(*SLEEP))
    pid = runtime.pid(identity)
    runtime.call("delete", identity)
    assert not _runs(pid)


def test_start_of_a_running_container_fails(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert "cannot start" in runtime.fails("start", identity).err


def test_start_of_a_stopped_container_fails(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs("/bin/true"))
    runtime.wait_stopped(identity)
    assert "cannot start" in runtime.fails("start", identity).err


def test_list_prints_what_state_prints(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert runtime.call("list", "--quiet").out == f"{identity}\n"
        table = runtime.call("list").out.splitlines()
        state = runtime.state(identity)
        listed = json.loads(runtime.call("list", "--format", "json").out)
    assert table[0].split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert table[1].split()[:4] == [identity, str(state["pid"]), "running", str(bundle.path)]
    assert table[1].split()[5] == "root"
    assert [(one["id"], one["pid"], one["status"]) for one in listed] == [(identity, state["pid"], "running")]


def test_list_of_nothing(runtime: OciRuntime) -> None:
    assert runtime.call("list", "--quiet").out == ""
    assert json.loads(runtime.call("list", "--format", "json").out) in (None, [])


def test_editing_the_bundle_after_create_changes_nothing(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    identity = runtime.create(bundle.script("echo first > /mark"))
    bundle.script("echo second > /mark").write()
    runtime.call("start", identity)
    runtime.wait_stopped(identity)
    assert (bundle.rootfs / "mark").read_text() == "first\n"


def test_process_killed_from_outside_is_stopped_and_can_be_deleted(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(bundle.runs(*SLEEP))
    os.kill(runtime.pid(identity), signal.SIGKILL)
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)


def test_created_process_killed_from_outside_cannot_be_started(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.create(bundle.runs(*SLEEP))
    os.kill(runtime.pid(identity), signal.SIGKILL)
    runtime.wait_stopped(identity)
    runtime.fails("start", identity)
    runtime.call("delete", identity)


def test_runtime_killed_while_it_waits_leaves_a_container_to_delete(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.identity()
    command = runtime.command("run", "--bundle", str(bundle.runs(*SLEEP).write()), identity)
    waiting = runtime.account.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(
        lambda: runtime.call("state", identity, status=None).status == 0 and runtime.status(identity) == "running", "it runs"
    )
    waiting.kill()
    waiting.wait()
    runtime.call("delete", "--force", identity)


def test_signals_to_a_foreground_run_reach_the_process(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.script("trap 'exit 42' USR1; touch /ready; while :; do sleep 0.1; done")
    identity = runtime.identity()
    command = runtime.command("run", "--bundle", str(bundle.write()), identity)
    waiting = runtime.account.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: (bundle.rootfs / "ready").exists(), "the trap is set")
    waiting.send_signal(signal.SIGUSR1)
    assert waiting.wait(10) == 42


def test_preserved_descriptors_reach_the_process(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.script("cat <&3; ls /proc/self/fd")
    command = runtime.command("run", "--preserve-fds", "1", "--bundle", str(bundle.write()), runtime.identity())
    passed = runtime.directory / "passed"
    passed.write_text("through\n")
    # 4 is open as well, but was not asked for
    result = runtime.account.run(["sh", "-c", f'exec "$@" 3<{passed} 4</', "sh", *command], status=0)
    assert result.out.split()[0] == "through"
    assert set(result.out.split()[1:]) <= {"0", "1", "2", "3", "4"}  # 4 is the directory that ls reads


def test_version_names_the_specification(runtime: OciRuntime) -> None:
    lines = runtime.call("--version").out.splitlines()
    assert lines[0].startswith(f"{runtime.name} version ")
    assert any(line.startswith("spec: 1.") for line in lines)


def test_spec_can_be_run(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.call("spec", cwd=bundle.path)
    config = json.loads((bundle.path / "config.json").read_text())
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    config["process"].update(args=["/bin/hostname"], terminal=False)
    (bundle.path / "config.json").write_text(json.dumps(config))
    assert runtime.call("run", runtime.identity(), cwd=bundle.path).out == config["hostname"] + "\n"


def test_spec_is_the_one_of_runc(runtime: OciRuntime, bundle: Bundle) -> None:
    """As far as runtimes of the same age must agree: the version, and masked paths that later ones added, apart."""
    runtime.call("spec", "--bundle", str(bundle.path))
    config = json.loads((bundle.path / "config.json").read_text())
    assert set(config) == {"ociVersion", "process", "root", "hostname", "mounts", "linux"}
    assert [mount["destination"] for mount in config["mounts"]] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
    ]
    capabilities = {"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"}
    assert all(set(names) == capabilities for names in config["process"]["capabilities"].values())
    kinds = [namespace["type"] for namespace in config["linux"]["namespaces"]]
    assert kinds[:5] == ["pid", "network", "ipc", "uts", "mount"]
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(config["linux"]["maskedPaths"])
    assert config["linux"]["readonlyPaths"] == ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def test_spec_does_not_overwrite(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.write()
    before = (bundle.path / "config.json").read_bytes()
    assert "config.json" in runtime.fails("spec", cwd=bundle.path).err
    assert (bundle.path / "config.json").read_bytes() == before


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
