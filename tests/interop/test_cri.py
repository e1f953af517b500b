"""containerd's CRI service with crate-runc as the runtime of a handler, over gRPC: what a kubelet does with pods."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.interop.conftest import IMAGE
from tests.support import cri, host
from tests.support.daemons import CGROUP_PARENT, Containerd
from tests.support.programs import eventually

HANDLER = "crate"


class Pod:
    """A sandbox, and the containers in it."""

    def __init__(self, runtime: cri.Runtime, logs: Path, *, pid: int = cri.CONTAINER) -> None:
        self._runtime = runtime
        self.logs = logs
        name = secrets.token_hex(4)
        self.config: dict[str, Any] = {
            "metadata": {"name": f"pod-{name}", "uid": name, "namespace": "tests"},
            "hostname": "podhost",
            "log_directory": str(logs),
            "linux": {
                "cgroup_parent": f"/{CGROUP_PARENT}/pod-{name}",
                "security_context": {"namespace_options": {"pid": pid}, "seccomp": {"profile_type": 0}},
                "sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"},
            },
        }
        self._pid = pid
        self.id = str(self.call("RunPodSandbox", config=self.config, runtime_handler=HANDLER)["pod_sandbox_id"])

    def call(self, method: str, **request: Any) -> dict[str, Any]:
        return self._runtime.call(method, request)

    def create(self, name: str, *command: str, security: dict[str, Any] | None = None, **config: Any) -> str:
        linux: dict[str, Any] = {
            "security_context": {"namespace_options": {"pid": self._pid}, "seccomp": {"profile_type": 0}, **(security or {})},
            "resources": config.pop("resources", {"cpu_shares": 256, "oom_score_adj": 500}),
        }
        whole = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": list(command),
            "log_path": f"{name}.log",
            "linux": linux,
            **config,
        }
        made = self.call("CreateContainer", pod_sandbox_id=self.id, config=whole, sandbox_config=self.config)
        return str(made["container_id"])

    def start(self, name: str, *command: str, **config: Any) -> str:
        container = self.create(name, *command, **config)
        self.call("StartContainer", container_id=container)
        return container

    def status(self, container: str) -> dict[str, Any]:
        status: dict[str, Any] = self.call("ContainerStatus", container_id=container)["status"]
        return status

    def execute(self, container: str, *command: str) -> tuple[int, str]:
        done = self.call("ExecSync", container_id=container, cmd=list(command), timeout=20)
        return done.get("exit_code", 0), base64.b64decode(done.get("stdout", "")).decode()

    def remove(self) -> None:
        self.call("StopPodSandbox", pod_sandbox_id=self.id)
        self.call("RemovePodSandbox", pod_sandbox_id=self.id)


@pytest.fixture(scope="module")
def runtime(containerd: Containerd) -> Iterator[cri.Runtime]:
    if not Path("/usr/lib/cni/bridge").exists():
        pytest.skip("needs CNI plugins (Debian package containernetworking-plugins)")
    client = cri.Runtime(containerd.socket)
    client.call("Version", {})  # opens the channel, whose descriptors stay
    yield client
    client.close()


@pytest.fixture
def pod(runtime: cri.Runtime, tmp_path: Path) -> Iterator[Pod]:
    made = Pod(runtime, tmp_path)
    yield made
    made.remove()


def test_service_is_ready(runtime: cri.Runtime) -> None:
    assert runtime.call("Version", {})["runtime_name"] == "containerd"
    conditions = runtime.call("Status", {})["status"]["conditions"]
    eventually(lambda: {one["type"]: one.get("status", False) for one in conditions}["RuntimeReady"], "the runtime is ready")


def test_pod_with_two_containers(pod: Pod) -> None:
    """They share network, IPC and host name, each has processes of its own; logs are in the kubelet's form."""
    status = pod.call("PodSandboxStatus", pod_sandbox_id=pod.id)["status"]
    address = status["network"]["ip"]
    assert address.startswith("10.88.7.")
    server = pod.start(
        "server", "sh", "-c", "echo serving; mkdir -p /tmp/www; echo hello >/tmp/www/x; httpd -f -p 80 -h /tmp/www"
    )
    client = pod.start("client", "sleep", "1000")
    eventually(lambda: pod.execute(client, "wget", "-q", "-O", "-", "http://127.0.0.1/x") == (0, "hello\n"), "the server answers")
    assert pod.execute(client, "wget", "-q", "-O", "-", f"http://{address}/x") == (0, "hello\n")
    assert pod.execute(client, "hostname") == (0, "podhost\n")
    assert "httpd" not in pod.execute(client, "ps")[1]
    links = [
        pod.execute(one, "readlink", f"/proc/self/ns/{kind}")[1]
        for kind in ("ipc", "net", "uts", "pid")
        for one in (server, client)
    ]
    assert [links[at] == links[at + 1] for at in range(0, 8, 2)] == [True, True, True, False]
    line = (pod.logs / "server.log").read_text().splitlines()[0].split(" ")
    assert line[1:] == ["stdout", "F", "serving"]


def test_pod_with_a_shared_pid_namespace(runtime: cri.Runtime, tmp_path: Path) -> None:
    pod = Pod(runtime, tmp_path, pid=cri.POD)
    try:
        first = pod.start("first", "sleep", "1111")
        second = pod.start("second", "sleep", "2222")
        processes = pod.execute(second, "ps")[1]
        assert "sleep 1111" in processes
        assert "sleep 2222" in processes
        assert "sleep 100000" in processes, "the sandbox's own process is init"
        pod.call("StopContainer", container_id=first, timeout=0)
        assert pod.status(first)["state"] == cri.EXITED
        assert pod.status(second)["state"] == cri.RUNNING, "only the processes of one container were killed"
    finally:
        pod.remove()


def test_exec(pod: Pod) -> None:
    container = pod.start("one", "sleep", "1000", envs=[{"key": "A", "value": "b"}], working_dir="/tmp")
    assert pod.execute(container, "sh", "-c", "echo $A; pwd; exit 4") == (4, "b\n/tmp\n")
    with pytest.raises(grpc.RpcError) as raised:
        pod.execute(container, "nosuchprogram")
    assert "executable file not found in $PATH" in str(raised.value)


def test_exit_status_and_reason(pod: Pod) -> None:
    container = pod.start("short", "sh", "-c", "exit 7")
    eventually(lambda: pod.status(container)["state"] == cri.EXITED, "it ends")
    assert (pod.status(container)["exit_code"], pod.status(container)["reason"]) == (7, "Error")


def test_a_program_that_is_missing_fails_the_start(pod: Pod) -> None:
    container = pod.create("missing", "nosuchprogram")
    with pytest.raises(grpc.RpcError) as raised:
        pod.call("StartContainer", container_id=container)
    assert "executable file not found in $PATH" in str(raised.value)


def test_out_of_memory_is_told(pod: Pod) -> None:
    script = "sleep 0.5; dd if=/dev/zero of=/dev/null bs=200M count=1"
    container = pod.start("hungry", "sh", "-c", script, resources={"memory_limit_in_bytes": 24 << 20})
    eventually(lambda: pod.status(container)["state"] == cri.EXITED, "it ends", within=20)
    status = pod.status(container)
    assert (status["exit_code"], status["reason"]) == (137, "OOMKilled")


def test_stats_and_update(pod: Pod) -> None:
    container = pod.start("sized", "sleep", "1000", resources={"memory_limit_in_bytes": 64 << 20, "cpu_shares": 256})
    stats = pod.call("ContainerStats", container_id=container)["stats"]
    assert 0 < int(stats["memory"]["working_set_bytes"]["value"]) < 64 << 20
    assert int(stats["cpu"]["usage_core_nano_seconds"]["value"]) > 0
    pod.call("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 96 << 20})
    v1 = host.cgroup_directory("memory")
    if v1:
        limit = next((v1 / CGROUP_PARENT).rglob(f"*{container}*/memory.limit_in_bytes"))
    else:
        limit = next(Path("/sys/fs/cgroup", CGROUP_PARENT).rglob(f"*{container}*/memory.max"))
    assert int(limit.read_text()) == 96 << 20


def test_security_of_a_pod(pod: Pod) -> None:
    """Seccomp by default, an ordinary user, no new privileges, a read-only root, dropped capabilities."""
    security = {
        "run_as_user": {"value": 1000},
        "no_new_privs": True,
        "readonly_rootfs": True,
        "capabilities": {"drop_capabilities": ["ALL"]},
        "masked_paths": ["/proc/kcore"],
        "readonly_paths": ["/proc/sys"],
    }
    container = pod.start("careful", "sleep", "1000", security=security)
    script = "id -u; grep -E 'Seccomp:|NoNewPrivs|CapBnd' /proc/self/status; touch /x /proc/sys/kernel/hostname 2>&1"
    _, out = pod.execute(container, "sh", "-c", script)
    assert out.startswith("1000\n")
    assert "CapBnd:\t0000000000000000" in out
    assert "NoNewPrivs:\t1" in out
    assert "Seccomp:\t2" in out
    assert out.count("Read-only file system") + out.count("Permission denied") == 2


def test_volumes(pod: Pod, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = [
        {"container_path": "/data", "host_path": str(shared)},
        {"container_path": "/fixed", "host_path": str(shared), "readonly": True},
    ]
    container = pod.start("volumes", "sleep", "1000", mounts=mounts)
    assert pod.execute(container, "sh", "-c", "echo x >/data/y; cat /fixed/y; touch /fixed/z")[0] == 1
    assert (shared / "y").read_text() == "x\n"
