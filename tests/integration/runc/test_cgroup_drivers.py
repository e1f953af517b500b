"""Who makes the cgroup: nobody, where crun's flag says so, and not systemd where it could not. As root; systemd itself is in tests/vm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import Bundle, OciRuntime

pytestmark = pytest.mark.parametrize("runtime_program", ["crate-runc"], indirect=True)


def hierarchies(text: str) -> list[str]:
    return sorted(line.split(":", 1)[1] for line in text.splitlines())


def test_without_a_driver_the_container_stays_where_its_caller_is(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.flags = ("--cgroup-manager", "disabled")
    bundle.linux["resources"] = {}
    with runtime.running(bundle.runs("/bin/sleep", "1000")) as identity:
        ours = hierarchies(Path("/proc/self/cgroup").read_text())
        assert hierarchies(Path(f"/proc/{runtime.pid(identity)}/cgroup").read_text()) == ours
        runtime.flags = ()
        assert hierarchies(runtime.exec(identity, "/bin/cat", "/proc/self/cgroup").out) == ours


def test_without_a_driver_a_limit_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    runtime.flags = ("--cgroup-manager", "disabled")
    bundle.linux["resources"] = {"pids": {"limit": 5}}
    result = runtime.run(bundle.script("echo runs"), status=1)
    assert "linux.resources.pids.limit: limit pids:" in result.err
    assert "--cgroup-manager disabled leaves it out" in result.err
    assert result.out == ""


def test_systemd_makes_no_cgroups_of_v1_for_us(runtime: OciRuntime, bundle: Bundle) -> None:
    if host.cgroup_mode() == "v2":
        pytest.skip("needs cgroup v1")
    runtime.flags = ("--systemd-cgroup",)
    result = runtime.run(bundle.script("echo runs"), status=1)
    assert "systemd cgroup driver: this host has cgroup" in result.err
    assert "let the engine use the cgroupfs driver" in result.err
