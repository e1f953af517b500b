"""A container as a systemd service of Type=notify: systemd waits until the program in it says that it is ready, and knows the main process."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

SPEAKS = """
import os, socket, time
time.sleep(1)
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
time.sleep(1000)
"""


@pytest.fixture(params=["crate-runc", "runc"])
def runtime_program(request: pytest.FixtureRequest) -> tuple[str, str]:
    if request.param == "crate-runc":
        bin_directory: Path = request.getfixturevalue("bin_directory")
        return request.param, str(bin_directory / "crate-runc")
    return request.param, host.program(request.param)


@pytest.fixture
def speaking(bundle: Bundle) -> Bundle:
    """A container with the host's Python, for a program that can send a datagram."""
    host.need_root()
    for name in ("lib", "lib64"):
        (bundle.rootfs / name).symlink_to(f"usr/{name}")
    bundle.mount("/usr", type="bind", source="/usr", options=["rbind", "ro"])
    return bundle.runs("/usr/bin/python3", "-I", "-S", "-c", SPEAKS)


@pytest.fixture
def unit() -> Iterator[str]:
    name = f"crate-test-{secrets.token_hex(4)}.service"
    yield name
    subprocess.run(["systemctl", "stop", name], capture_output=True, check=False)
    subprocess.run(["systemctl", "reset-failed", name], capture_output=True, check=False)


def started(unit: str, *command: str, **properties: str) -> dict[str, str]:
    """What systemd says of the service, once its start is done."""
    flags = [f"--property={name}={value}" for name, value in {"Type": "notify", "NotifyAccess": "all", **properties}.items()]
    subprocess.run(["systemd-run", "--quiet", f"--unit={unit}", *flags, "--", *command], check=True, timeout=300)
    shown = subprocess.run(
        ["systemctl", "show", unit, "-p", "ActiveState,MainPID"], capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())


def test_a_service_that_runs_in_the_foreground(runtime: OciRuntime, speaking: Bundle, unit: str) -> None:
    identity = runtime.identity()
    found = started(unit, *runtime.command("run", "--bundle", str(speaking.write()), identity))
    assert found["ActiveState"] == "active"
    assert runtime.status(identity) == "running"
    main = int(found["MainPID"])
    assert main != runtime.pid(identity)
    assert identity in Path(f"/proc/{main}/cmdline").read_text()


def test_a_service_that_is_detached_has_the_containers_process(runtime: OciRuntime, speaking: Bundle, unit: str) -> None:
    identity = runtime.identity()
    speaking.linux.pop("resources", None)
    found = started(unit, *runtime.command("run", "--detach", "--bundle", str(speaking.write()), identity))
    assert found["ActiveState"] == "active"
    assert int(found["MainPID"]) == runtime.pid(identity)
