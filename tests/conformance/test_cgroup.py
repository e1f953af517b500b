"""linux.cgroupsPath and linux.resources: the cgroup that is joined, its limits, and that it goes with the container."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

V2 = host.cgroup_mode() == "v2"
SLEEP = ("/bin/sleep", "1000")


def cgroup_of(pid: int, controller: str) -> Path:
    """The directory of the cgroup of a process, as the host sees it."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if V2 and names == "":
            return Path("/sys/fs/cgroup" + path)
        if not V2 and controller in names.split(","):
            mounted = host.cgroup_directory(controller)
            if mounted is None:
                pytest.skip(f"needs the cgroup controller {controller}")
            return Path(str(mounted) + path)
    pytest.skip(f"needs the cgroup controller {controller}")


def limited(bundle: Bundle, name: str = "", **resources: Any) -> Bundle:
    bundle.linux["resources"].update(resources)
    bundle.linux["cgroupsPath"] = f"/crate-tests/{name or os.urandom(4).hex()}"
    return bundle.runs(*SLEEP)


@pytest.fixture(autouse=True)
def no_parent_left() -> Iterator[None]:
    """The directories that all these containers share are not taken for a leak."""
    yield
    for path in Path("/sys/fs/cgroup").glob("*/crate-tests" if not V2 else "crate-tests"):
        try:
            path.rmdir()
        except OSError:
            pass


CASES = [
    ({"pids": {"limit": 33}}, "pids", "pids.max", "33", "33"),
    ({"memory": {"limit": 64 << 20}}, "memory", "memory.limit_in_bytes", str(64 << 20), None),
    ({"memory": {"limit": 64 << 20}}, "memory", "memory.max", None, str(64 << 20)),
    ({"memory": {"reservation": 32 << 20}}, "memory", "memory.soft_limit_in_bytes", str(32 << 20), None),
    ({"memory": {"reservation": 32 << 20}}, "memory", "memory.low", None, str(32 << 20)),
    ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512", None),
    ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.cfs_quota_us", "50000", None),
    ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.cfs_period_us", "100000", None),
    ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.max", None, "50000 100000"),
    ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0", "0"),
]


@pytest.mark.parametrize(
    ("resources", "controller", "file", "v1", "v2"), CASES, ids=lambda value: value if isinstance(value, str) else None
)
def test_limit_is_in_force(
    runtime: OciRuntime, bundle: Bundle, resources: dict[str, Any], controller: str, file: str, v1: str | None, v2: str | None
) -> None:
    expected = v2 if V2 else v1
    if expected is None:
        pytest.skip(f"needs cgroup {'v1' if V2 else 'v2'}, which has {file}")
    with runtime.running(limited(bundle, **resources)) as identity:
        assert (cgroup_of(runtime.pid(identity), controller) / file).read_text().strip() == expected


def test_process_is_in_the_cgroup_that_is_named(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(limited(bundle, "named")) as identity:
        pid = runtime.pid(identity)
        directory = cgroup_of(pid, "pids")
        assert str(directory).endswith("/crate-tests/named")
        assert str(pid) in (directory / "cgroup.procs").read_text().split()


def test_cgroup_has_a_name_of_its_own_by_default(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert cgroup_of(runtime.pid(identity), "pids").name == identity


def test_cgroup_is_removed_with_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    identity = runtime.start(limited(bundle))
    directory = cgroup_of(runtime.pid(identity), "pids")
    runtime.call("kill", identity, "KILL")
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)
    assert not directory.exists()


def test_cgroup_is_joined_before_the_first_instruction(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, "early").runs("cat", "/proc/self/cgroup")
    out = runtime.output(bundle)
    paths = [line.split(":", 2)[2] for line in out.splitlines()]
    assert all("early" in path for path in paths if path != "/"), out
    assert "early" in out


def test_too_many_processes_are_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, pids={"limit": 8})
    bundle.script("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 2 & done; wait")
    result = runtime.run(bundle, status=None)
    assert "can't fork" in result.err or "Resource temporarily unavailable" in result.err


def test_too_much_memory_ends_the_process(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, memory={"limit": 16 << 20, "swap": 16 << 20})
    result = runtime.run(bundle.runs("sh", "-c", "exec dd if=/dev/zero of=/dev/null bs=256M count=1"), status=None)
    assert result.status == 137


def test_limit_that_cannot_be_set_fails_create(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, cpu={"cpus": "9999"})
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert list(runtime.root.iterdir()) == []


def test_delete_force_ends_processes_that_left_the_pid_of_the_container(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.without_namespace("pid")
    identity = runtime.start(limited(bundle).script("sleep 1000 & exec sleep 1000"))
    directory = cgroup_of(runtime.pid(identity), "pids")
    pids = eventually(
        lambda: found if len(found := (directory / "cgroup.procs").read_text().split()) >= 2 else None, "both processes run"
    )
    runtime.call("delete", "--force", identity)
    for pid in pids or ():
        eventually(lambda pid=pid: not Path(f"/proc/{pid}").exists() or _zombie(pid), f"process {pid} ends")  # type: ignore[misc]
    if runtime.name == "runc" and directory.exists():
        directory.rmdir()  # runc 1.1 does not wait long for processes that end slowly, and then leaves the directory
    assert not directory.exists()


def _zombie(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_cgroup_of_the_container_is_seen_at_its_usual_place(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, pids={"limit": 44}).namespace("cgroup")
    file = "/sys/fs/cgroup/pids.max" if V2 else "/sys/fs/cgroup/pids/pids.max"
    assert runtime.output(bundle.runs("cat", file)) == "44\n"


def test_cgroup_mount_is_read_only(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("cgroup")
    directory = "/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/pids"
    assert "Read-only" in runtime.run(limited(bundle).runs("mkdir", f"{directory}/x"), status=1).err


def test_existing_cgroup_is_used_again(runtime: OciRuntime, bundle: Bundle) -> None:
    """The same path twice must give the same cgroup."""
    with runtime.running(limited(bundle, "twice")) as identity:
        first = cgroup_of(runtime.pid(identity), "pids")
    assert not first.exists()
    with runtime.running(limited(bundle, "twice")) as identity:
        assert cgroup_of(runtime.pid(identity), "pids") == first


def test_removing_a_container_leaves_another_in_the_same_cgroup_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    limited(bundle, "shared")
    with runtime.running(bundle) as first:
        pid = runtime.pid(first)
        second = runtime.start(bundle)
        runtime.call("delete", "--force", second, status=None)
        assert Path(f"/proc/{pid}").exists()
        assert runtime.state(first)["status"] == "running"


def test_failed_create_leaves_others_in_its_cgroup_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(limited(bundle, "shared")) as identity:
        directory = cgroup_of(runtime.pid(identity), "pids")
        bundle.mount("/mnt", type="bind", source="/nonexistent/source", options=["bind"])
        runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
        assert runtime.status(identity) == "running"
        assert directory.exists()
