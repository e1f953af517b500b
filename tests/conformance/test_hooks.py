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


def test_failing_start_container_hook_keeps_the_process_from_running(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"startContainer": [hook("startContainer", record, "exit 3")]}
    identity = runtime.create(bundle.script(f"echo process >> {record}/order"))
    runtime.call("start", identity, status=None)
    runtime.wait_stopped(identity)
    assert order(record) == ["startContainer"]


def test_failing_poststop_hook_does_not_fail_delete(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"poststop": [hook("poststop", record, "exit 3"), hook("poststop", record)]}
    identity = runtime.start(bundle.runs("true"))
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)
    assert list(runtime.root.iterdir()) == []


def test_hook_that_is_too_slow_is_ended(runtime: OciRuntime, bundle: Bundle, record: Path) -> None:
    with_hooks(bundle, record)
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]}
    runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity(), timeout=15)


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
