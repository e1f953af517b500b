"""Limits of config.json on cgroup v2, as the kernel has them: read outside and inside, and felt. As root."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

ROOT = Path("/sys/fs/cgroup")
SLEEP = ("/bin/sleep", "1000")
MEMORY = 48 << 20
SWAP_TOO = 64 << 20


@pytest.fixture
def group(bundle: Bundle) -> Path:
    """The directory of the container's cgroup, which the bundle asks for. The container is in a cgroup namespace."""
    name = f"ct-{secrets.token_hex(4)}"
    bundle.linux["cgroupsPath"] = f"/{name}"
    bundle.namespace("cgroup")
    return ROOT / name


def limit(bundle: Bundle, **resources: object) -> Bundle:
    bundle.linux["resources"] |= resources
    return bundle


def test_limits_are_the_same_inside_and_outside(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    limit(
        bundle,
        pids={"limit": 20},
        memory={"limit": MEMORY, "swap": SWAP_TOO, "reservation": MEMORY // 2},
        cpu={"quota": 50_000, "period": 200_000, "shares": 512},
    )
    expected = {
        "pids.max": "20",
        "memory.max": str(MEMORY),
        "memory.swap.max": str(SWAP_TOO - MEMORY),
        "memory.low": str(MEMORY // 2),
        "cpu.max": "50000 200000",
    }
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        outside = {name: (group / name).read_text().strip() for name in expected}
        script = "cd /sys/fs/cgroup; for name; do cat $name; done"
        inside = runtime.exec(identity, "/bin/sh", "-c", script, "sh", *expected).out.splitlines()
        weight = int((group / "cpu.weight").read_text())
    assert outside == expected
    assert inside == list(expected.values())
    assert weight < 100, "half of the usual shares are less than the usual weight"


def test_every_process_is_in_the_cgroup(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert (group / "cgroup.procs").read_text().split() == [str(runtime.pid(identity))]
        assert Path(f"/proc/{runtime.pid(identity)}/cgroup").read_text() == f"0::/{group.name}\n"
        assert runtime.exec(identity, "/bin/cat", "/proc/self/cgroup").out == "0::/\n"


def test_pids_limit_holds(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    limit(bundle, pids={"limit": 4})
    result = runtime.run(bundle.script("for i in 1 2 3 4 5 6 7 8; do sleep 100 & done; echo all"), status=None)
    assert "can't fork" in result.err, result
    assert "all" not in result.out


def test_memory_limit_ends_the_program(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    limit(bundle, memory={"limit": MEMORY, "swap": MEMORY})
    identity = runtime.create(bundle.runs("/bin/tail", "/dev/zero"))
    runtime.call("start", identity)
    runtime.wait_stopped(identity)
    events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
    assert int(events["oom_kill"]) >= 1


def test_only_the_devices_of_the_specification_can_be_opened(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    """The rest is refused by a program of the kernel, not by the lack of a node."""
    bundle.process["capabilities"] = {kind: ["CAP_MKNOD"] for kind in ("bounding", "effective", "permitted")}
    bundle.script("mknod /dev/disk b 254 0 || exit 3; head -c 1 /dev/zero >/dev/null && echo zero; head -c 1 /dev/disk")
    limit(bundle, devices=[{"allow": False, "access": "rwm"}, {"allow": True, "type": "b", "access": "m"}])
    result = runtime.run(bundle, status=None)
    assert result.out == "zero\n", result
    assert "Operation not permitted" in result.err, result


def test_the_cgroup_goes_with_the_container(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    assert runtime.run(bundle.runs("/bin/true")).err == ""
    assert not group.exists()


def test_cgroups_that_the_container_made_go_too(runtime: OciRuntime, bundle: Bundle, group: Path) -> None:
    bundle.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=["nosuid", "noexec", "nodev", "relatime", "rw"])
    bundle.script("mkdir -p /sys/fs/cgroup/a/b; sleep 1000 & echo $! > /sys/fs/cgroup/a/b/cgroup.procs; wait")
    identity = runtime.start(bundle)
    eventually(lambda: (group / "a/b").exists() and (group / "a/b/cgroup.procs").read_text(), "a process is in the inner cgroup")
    runtime.call("delete", "--force", identity)
    assert not group.exists()
