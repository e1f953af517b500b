"""hooks: when each runs, in which namespaces, with which state on standard input; what their failure does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

ON_HOST = ("prestart", "createRuntime", "poststart", "poststop")
KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def kinds_of(runtime: OciRuntime) -> tuple[str, ...]:
    """This runc runs poststart hooks at the end of create, which later ones corrected."""
    return tuple(kind for kind in KINDS if runtime.name != "runc" or kind != "poststart")


@pytest.fixture
def record(runtime: OciRuntime) -> Path:
    path = runtime.directory / "record"
    path.mkdir(mode=0o777)
    path.chmod(0o777)
    return path


def hook(kind: str, record: Path, script: str = "", **more: Any) -> dict[str, Any]:
    """Appends its kind and the status of the state to `order`, and keeps the state. Works with a shell inside and outside."""
    text = f"cat > {record}/{kind}.json; echo {kind} >> {record}/order; {script}"
    shell = "/bin/busybox" if kind == "startContainer" else "/bin/sh"
    args = ["sh", "-c", text] if shell == "/bin/sh" else ["busybox", "sh", "-c", text]
    return {"path": shell, "args": args, "env": ["PATH=/usr/bin:/bin"], **more}


def state(record: Path, kind: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((record / f"{kind}.json").read_text())
    return document


def order(record: Path) -> list[str]:
    path = record / "order"
    return path.read_text().split() if path.exists() else []


def with_hooks(bundle: Bundle, record: Path, *kinds: str) -> Bundle:
    """The directory of the records is at the same place inside, for hooks that run there."""
    bundle.config["hooks"] = {kind: [hook(kind, record)] for kind in kinds}
    return bundle.mount(str(record), type="bind", source=str(record), options=["bind"])


def test_order_and_state(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    kinds = kinds_of(runtime)
    with_hooks(bundle, record, *kinds)
    bundle.config["annotations"] = {"org.example.key": "value"}
    identity = runtime.create(bundle.script(f"echo process >> {record}/order; sleep 1000"))
    assert order(record) == ["prestart", "createRuntime", "createContainer"]
    runtime.call("start", identity)
    eventually(lambda: len(order(record)) == len(kinds), "hooks and process have run")
    assert order(record)[3] == "startContainer"
    assert set(order(record)[4:]) == {"process", "poststart"} & {"process", *kinds}
    runtime.call("delete", "--force", identity)
    assert order(record)[len(kinds) :] == ["poststop"]
    for kind in kinds:
        assert state(record, kind)["id"] == identity
        assert state(record, kind)["bundle"] == str(bundle.path)
        assert state(record, kind)["annotations"]["org.example.key"] == "value"


def test_status_and_pid_in_the_state(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record, *KINDS)
    identity = runtime.start(bundle.runs("sleep", "1000"))
    pid = runtime.pid(identity)
    eventually(lambda: "poststart" in order(record), "poststart has run")
    runtime.call("delete", "--force", identity)
    for kind in ("prestart", "createRuntime"):
        assert state(record, kind)["pid"] == pid
        assert state(record, kind)["status"] in ("creating", "created")
    assert state(record, "poststart")["pid"] == pid
    assert runtime.name == "runc" or state(record, "poststart")["status"] == "running"
    assert state(record, "poststop")["status"] == "stopped"


def test_namespaces_of_hooks(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    look = f"readlink /proc/self/ns/mnt > {record}/$0.mnt; readlink /proc/self/ns/net > {record}/$0.net"
    bundle.config["hooks"] = {kind: [hook(kind, record, look.replace("$0", kind))] for kind in KINDS}
    identity = runtime.start(bundle.runs("sleep", "1000"))
    init = runtime.pid(identity)
    inside = {file: os.readlink(f"/proc/{init}/ns/{file}") for file in ("mnt", "net")}
    eventually(lambda: "poststart" in order(record), "poststart has run")
    runtime.call("delete", "--force", identity)
    for kind in KINDS:
        for file in ("mnt", "net"):
            expected = os.readlink(f"/proc/self/ns/{file}") if kind in ON_HOST else inside[file]
            assert (record / f"{kind}.{file}").read_text().strip() == expected, (kind, file)


def test_create_runtime_hooks_see_the_network_namespace(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    """What nerdctl builds on: the namespace is there, and what the hook puts in it is seen by the process."""
    with_hooks(bundle, record)
    script = "nsenter -t $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' {r}/createRuntime.json) -n ip link add seen type dummy || true"
    bundle.config["hooks"] = {
        "createRuntime": [hook("createRuntime", record, f"nsenter --version > {record}/tool; {script}".format(r=record))]
    }
    out = runtime.output(bundle.runs("ls", "/sys/class/net"))
    assert "lo" in out.split()


def test_create_container_hooks_run_before_the_root_switch(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    script = f"ls -d {bundle.rootfs}/etc > {record}/seen"
    bundle.config["hooks"] = {"createContainer": [hook("createContainer", record, script)]}
    runtime.run(bundle.runs("true"))
    assert (record / "seen").read_text().strip() == f"{bundle.rootfs}/etc"


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_fails_create_and_undoes_it(runtime: OciRuntime, bundle: Bundle, record: Path, kind: str) -> None:
    with_hooks(bundle, record, "poststop")
    bundle.config["hooks"][kind] = [hook(kind, record, "echo the reason >&2; exit 3")]
    runtime.fails("create", "--bundle", str(bundle.runs("sleep", "1000").write()), runtime.identity())
    assert list(runtime.root.iterdir()) == []
    assert order(record)[0] == kind
    if runtime.name != "runc":  # whose later versions do the same
        assert order(record) == [kind, "poststop"]


def test_failing_start_container_hook_keeps_the_process_from_running(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"startContainer": [hook("startContainer", record, "exit 3")]}
    identity = runtime.create(bundle.script(f"echo process >> {record}/order"))
    runtime.call("start", identity, status=None)
    if runtime.name == "runc":
        runtime.wait_stopped(identity)
    assert order(record) == ["startContainer"]


def test_failing_start_container_hook_fails_start_and_destroys_the_container(
    runtime: OciRuntime, bundle: Bundle, record: Path
) -> None:
    if runtime.name == "runc":
        pytest.skip("runc's start does not wait for these hooks; runtime.md of runtime-spec 1.3, step 7, wants an error of it")
    with_hooks(bundle, record, "poststop")
    bundle.config["hooks"]["startContainer"] = [hook("startContainer", record, "echo the reason >&2; exit 3")]
    identity = runtime.create(bundle.runs("sleep", "1000"))
    result = runtime.fails("start", identity)
    assert "startContainer hook" in result.err
    assert "the reason" in result.err
    assert list(runtime.root.iterdir()) == []
    assert order(record) == ["startContainer", "poststop"]


def test_failing_start_container_hook_fails_run(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record, "poststop")
    bundle.config["hooks"]["startContainer"] = [hook("startContainer", record, "exit 3")]
    result = runtime.run(bundle.script(f"echo process >> {record}/order"), status=None)
    assert result.status != 0
    assert order(record) == ["startContainer", "poststop"]
    assert list(runtime.root.iterdir()) == []


def test_failing_poststart_hook_stops_the_container(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    if runtime.name == "runc":
        pytest.skip("this runc runs poststart hooks at the end of create, which later ones corrected")
    with_hooks(bundle, record, "poststop")
    bundle.config["hooks"]["poststart"] = [hook("poststart", record, "exit 3"), hook("poststart", record)]
    identity = runtime.create(bundle.runs("sleep", "1000"))
    pid = runtime.pid(identity)
    assert "poststart hook" in runtime.fails("start", identity).err
    assert not Path(f"/proc/{pid}/exe").exists()
    assert order(record) == ["poststart", "poststop"]
    assert list(runtime.root.iterdir()) == []
    assert runtime.run(bundle.runs("sleep", "1000"), status=None, timeout=20).status != 0


def test_poststart_hooks_run_once_the_program_is_executed_and_before_start_returns(
    runtime: OciRuntime, bundle: Bundle, record: Path
) -> None:
    if runtime.name == "runc":
        pytest.skip("this runc runs poststart hooks at the end of create, which later ones corrected")
    with_hooks(bundle, record)
    look = f"readlink /proc/$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/' {record}/poststart.json)/exe > {record}/program"
    bundle.config["hooks"] = {"poststart": [hook("poststart", record, look)]}
    identity = runtime.create(bundle.runs("/bin/busybox", "sleep", "1000"))
    runtime.call("start", identity)
    assert (record / "program").read_text() == "/bin/busybox\n"


def test_failing_poststop_hook_does_not_fail_delete(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"poststop": [hook("poststop", record, "exit 3"), hook("poststop", record)]}
    identity = runtime.start(bundle.runs("true"))
    runtime.wait_stopped(identity)
    log = runtime.directory / "log"
    command = ["--log", str(log), "--log-format", "json", "delete", identity]
    result = runtime.account.run([*runtime.command(), *command])
    assert result.status == 0 or runtime.name == "runc"
    assert not list(runtime.root.iterdir())
    if runtime.name == "runc":
        return  # it ends with the first that fails, and runtime.md of runtime-spec 1.3, step 13, wants all
    assert order(record) == ["poststop", "poststop"]
    (line,) = log.read_text().splitlines()
    warning = json.loads(line)
    assert warning["level"] == "warning"
    assert "poststop hook" in warning["msg"]


def test_failing_hook_of_several_is_the_last(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    hooks = [hook("createRuntime", record), hook("createRuntime", record, "exit 1"), hook("createRuntime", record)]
    bundle.config["hooks"] = {"createRuntime": hooks}
    runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    assert order(record) == ["createRuntime", "createRuntime"]


def test_error_of_a_hook_has_what_it_printed(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    """And what hooks print otherwise is not on the standard output of create, which is the container's."""
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"createRuntime": [hook("createRuntime", record, "echo spoken")]}
    result = runtime.run(bundle.script("echo program"))
    assert (result.out, result.err) == ("program\n", "")
    bundle.config["hooks"]["createRuntime"].append(hook("createRuntime", record, "echo spoken; echo reason >&2; exit 1"))
    result = runtime.run(bundle.script("echo program"), status=None)
    assert result.out == ""
    assert "hook" in result.err
    assert "reason" in result.err


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_hook_that_is_too_slow_is_ended(runtime: OciRuntime, bundle: Bundle, record: Path, kind: str) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {kind: [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity(), timeout=15)


def test_hook_that_is_too_slow_is_ended_with_what_it_started(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    if runtime.name == "runc":
        pytest.skip("runc ends the hook alone, and waits for those who have its output")
    with_hooks(bundle, record)
    script = f"cat > /dev/null; sleep 1000 & echo $! > {record}/child; wait"
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "timeout": 1}]
    }
    result = runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity(), timeout=15)
    assert "1 s" in result.err
    child = int((record / "child").read_text())
    eventually(lambda: not Path(f"/proc/{child}/exe").exists(), "what the hook started has ended")


def test_hook_in_good_time_is_not_ended(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {
        "createRuntime": [hook("createRuntime", record, "sleep 0.2; echo late >> " + f"{record}/order", timeout=30)]
    }
    runtime.run(bundle.runs("true"))
    assert order(record) == ["createRuntime", "late"]


def test_working_directory_of_hooks(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    if runtime.name == "runc":
        pytest.skip("runc leaves hooks the directory of the caller")
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"createRuntime": [hook("createRuntime", record, f"pwd > {record}/directory")]}
    runtime.run(bundle.runs("true"))
    assert (record / "directory").read_text() == "/\n"


@pytest.mark.parametrize("kind", ["createContainer", "startContainer"])
def test_pid_in_the_state_of_hooks_inside_is_the_one_they_see(
    runtime: OciRuntime, bundle: Bundle, record: Path, kind: str
) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {kind: [hook(kind, record)]}
    runtime.run(bundle.runs("true"))
    assert state(record, kind)["pid"] == 1
    assert state(record, kind)["status"] == ("created" if kind == "startContainer" else "creating")


def test_hook_that_is_missing(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["hooks"] = {"createRuntime": [{"path": "/nonexistent/hook"}]}
    result = runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity())
    assert "/nonexistent/hook" in result.err


def test_environment_of_hooks_is_their_own(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    """Neither the caller's nor that of the container's process, which the image chose (the attack)."""
    with_hooks(bundle, record)
    bundle.process["env"] += ["LD_PRELOAD=/evil.so", "PYTHONPATH=/evil"]
    entry = hook("createRuntime", record, f"env > {record}/env", env=["PATH=/usr/bin:/bin", "OWN=1"])
    bundle.config["hooks"] = {"createRuntime": [entry]}
    runtime.call("run", "--bundle", str(bundle.runs("true").write()), runtime.identity(), env={"SECRET": "x"})
    names = {line.partition("=")[0] for line in (record / "env").read_text().splitlines()}
    assert names - {"PWD", "SHLVL", "_"} == {"PATH", "OWN"}
