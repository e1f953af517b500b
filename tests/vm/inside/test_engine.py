"""crate from a registry to the removal of the container, in a real session, by whoever runs the tests."""

from __future__ import annotations

import http.client
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import Images
from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import Account, eventually
from tests.support.registry import free_port

_SERVE = "mkdir /www && echo served > /www/index.html && echo ready && exec httpd -f -p 80 -h /www"


def test_the_embedded_image_runs(crate: Crate) -> None:
    network = [] if host.has("pasta") else ["--network", "none"]
    shown = crate("run", "--rm", *network, "localhost/crate/hello").out
    assert "Hello from inside a container." in shown
    assert "  process             1, started by 0\n" in shown


def test_a_server_from_a_registry_lives_its_whole_life(crate: Crate, images: Images) -> None:
    host.program("pasta", "passt")
    port = free_port()
    crate("pull", images.busybox)
    crate("run", "-d", "--name", "web", "-p", f"127.0.0.1:{port}:80", images.busybox, "sh", "-c", _SERVE)
    eventually(lambda: "ready" in crate.out("logs", "web"), "the server is ready")
    assert eventually(lambda: _get(port), "the port answers") == b"served\n"
    assert "web" in crate.out("ps")
    assert crate.out("exec", "web", "cat", "/www/index.html") == "served"
    crate("stop", "-t", "1", "web")
    assert "web" not in crate.out("ps")
    assert "web" in crate.out("ps", "-a")
    crate("rm", "web")
    assert crate.out("ps", "-aq") == ""


def _get(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/index.html")
        return connection.getresponse().read()
    except OSError:
        return b""
    finally:
        connection.close()


@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_other_runtimes_run_what_crate_writes(crate: Crate, images: Images, runtime: str) -> None:
    host.program(runtime)
    crate("pull", images.busybox)
    result = crate(
        "--runtime", runtime, "run", "--rm", "--network", "none", images.busybox, "sh", "-c", "echo $$; exit 3", status=3
    )
    assert result.out == "1\n"


def test_podman_runs_containers_with_crate_runc(account: Account, bin_directory: Path, images: Images, base: Path) -> None:
    podman = [host.program("podman"), "--runtime", str(bin_directory / "crate-runc"), "--cgroup-manager", "cgroupfs"]
    podman += ["--root", str(account.home / "podman"), "--runroot", str(account.runtime_dir / "podman")]
    account.run([*podman, "pull", "--quiet", "--tls-verify=false", images.busybox], status=0, timeout=120)
    command = ["run", "--rm", "--network", "none", images.busybox, "sh", "-c", "echo $$; exit 3"]
    try:
        result = account.run([*podman, *command], status=3, timeout=120)
        assert result.out == "1\n"
    finally:
        account.run([*podman, "rmi", "--all", "--force"], timeout=120)
        if account.rootless:
            account.run([podman[0], "unshare", "rm", "-rf", str(account.home / "podman")], timeout=120)
            # podman keeps a process that holds the user namespace
            os.kill(int((account.runtime_dir / "libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
