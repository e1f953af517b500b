"""The systemd driver: a container is a scope of systemd, as root of the system's, as an ordinary user of the own one. With runc and crun as peers."""

from __future__ import annotations

import dataclasses
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account, Result, eventually
from tests.support.runtime import Bundle, OciRuntime

ROOT = Path("/sys/fs/cgroup")
SLEEP = ("/bin/sleep", "1000")
MEMORY = 48 << 20
WRITABLE = ["nosuid", "noexec", "nodev", "relatime", "rw"]
_SHOWN = (
    "Slice",
    "Delegate",
    "MemoryMax",
    "MemorySwapMax",
    "MemoryLow",
    "CPUQuotaPerSecUSec",
    "CPUWeight",
    "TasksMax",
    "TimeoutStopUSec",
)

only_ours = pytest.mark.parametrize("runtime_program", ["crate-runc"], indirect=True)


@pytest.fixture
def driven(request: pytest.FixtureRequest, runtime_program: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> OciRuntime:
    """A runtime with the systemd driver, in the session of whoever runs the tests."""
    runtime: OciRuntime = request.getfixturevalue("runtime" if host.IS_ROOT else "rootless_runtime")
    assert runtime.name == runtime_program[0]
    runtime.flags = ("--systemd-cgroup",)
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)  # crun as root would ask root's own systemd first
    if not host.IS_ROOT:
        directory = Path(f"/run/user/{os.geteuid()}")
        if not (directory / "systemd").exists():
            pytest.skip("needs a systemd of the user (a login session, or lingering)")
        runtime.account = dataclasses.replace(runtime.account, runtime_dir=directory)
    return runtime


@pytest.fixture
def contained(request: pytest.FixtureRequest, driven: OciRuntime) -> Bundle:
    """A bundle in a cgroup namespace, with the cgroup in sight."""
    bundle: Bundle = request.getfixturevalue("bundle" if host.IS_ROOT else "rootless_bundle")
    bundle.namespace("cgroup")
    bundle.linux["resources"] = {"devices": [{"allow": False, "access": "rwm"}]} if host.IS_ROOT else {}
    return bundle.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=WRITABLE)


@pytest.fixture
def unit(driven: OciRuntime, contained: Bundle) -> Iterator[str]:
    """The scope that the bundle asks for, in a slice in a slice."""
    slice, name = f"ct{secrets.token_hex(3)}", secrets.token_hex(4)
    contained.linux["cgroupsPath"] = f"{slice}-limits.slice:ct:{name}"
    yield f"ct-{name}.scope"
    systemctl(driven.account, "kill", "--signal=KILL", f"{slice}.slice")
    systemctl(driven.account, "stop", f"{slice}.slice")


def systemctl(account: Account, *words: str) -> Result:
    return account.run([host.program("systemctl"), *(["--user"] if account.rootless else []), *words])


def shown(account: Account, unit: str, *names: str) -> dict[str, str]:
    lines = systemctl(account, "show", *(f"--property={name}" for name in names), unit).out.splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def is_gone(account: Account, unit: str) -> bool:
    return shown(account, unit, "LoadState") == {"LoadState": "not-found"}


def directory_of(pid: int) -> Path:
    """The scope's, as the host sees it; crun puts one more cgroup into it."""
    directory = ROOT / Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")
    return directory.parent if directory.name == "container" else directory


def files(directory: Path, *names: str) -> list[str]:
    return [(directory / name).read_text().strip() for name in names]


def inside(runtime: OciRuntime, identity: str, *names: str) -> list[str]:
    return runtime.exec(identity, "/bin/cat", *(f"/sys/fs/cgroup/{name}" for name in names)).out.splitlines()


def test_limits_are_the_same_inside_outside_and_for_systemd(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    if driven.name == "crun":
        pytest.skip("crun 1.8 sets them on a cgroup within the scope")
    contained.linux["resources"] |= {
        "pids": {"limit": 20},
        "memory": {"limit": MEMORY, "swap": 2 * MEMORY, "reservation": MEMORY // 2},
        "cpu": {"quota": 50_000, "period": 200_000, "shares": 1024},
    }
    contained.config["annotations"] = {"org.systemd.property.TimeoutStopSec": "uint64 7"}
    expected = {
        "pids.max": "20",
        "memory.max": str(MEMORY),
        "memory.swap.max": str(MEMORY),
        "memory.low": str(MEMORY // 2),
        "cpu.max": "50000 200000",
    }
    with driven.running(contained.runs(*SLEEP)) as identity:
        directory = directory_of(driven.pid(identity))
        slice = contained.linux["cgroupsPath"].partition(":")[0]
        assert directory.parts[-3:] == (f"{slice.partition('-')[0]}.slice", slice, unit)
        assert files(directory, *expected) == list(expected.values())
        if driven.name != "crun":  # which sets the limits on the scope, around the cgroup that the container sees
            assert inside(driven, identity, *expected) == list(expected.values())
        if driven.name != "runc" or host.IS_ROOT:  # whose 1.1.5 leaves an ordinary user's exec where it was
            assert driven.exec(identity, "/bin/grep", "0::", "/proc/self/cgroup").out in ("0::/\n", "0::/../container\n")
        properties = shown(driven.account, unit, *_SHOWN)
        weight = properties.pop("CPUWeight")
        assert weight == files(directory, "cpu.weight")[0]
        assert properties == {
            "Slice": slice,
            "Delegate": "yes",
            "MemoryMax": str(MEMORY),
            "MemorySwapMax": str(MEMORY),
            "MemoryLow": str(MEMORY // 2),
            "CPUQuotaPerSecUSec": "250ms",
            "TasksMax": "20",
            "TimeoutStopUSec": "7s",
        }
    assert not directory.exists()
    assert is_gone(driven.account, unit)


@only_ours
def test_limits_change_for_systemd_too_and_stay_when_it_reloads(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    contained.linux["resources"] |= {"pids": {"limit": 20}, "memory": {"limit": MEMORY}}
    with driven.running(contained.runs(*SLEEP)) as identity:
        driven.flags = ()  # the container knows who made its cgroup
        driven.call(
            "update", "--pids-limit", "30", "--cpu-quota", "33333", "--cpu-period", "100000", "--cpuset-cpus", "0", identity
        )
        directory = directory_of(driven.pid(identity))
        expected = ["30", str(MEMORY), "34000 100000", "0"]  # systemd keeps whole percents
        for _ in range(2):
            assert files(directory, "pids.max", "memory.max", "cpu.max", "cpuset.cpus") == expected
            assert shown(driven.account, unit, "TasksMax", "CPUQuotaPerSecUSec", "AllowedCPUs") == {
                "TasksMax": "30",
                "CPUQuotaPerSecUSec": "340ms",
                "AllowedCPUs": "0",
            }
            assert systemctl(driven.account, "daemon-reload").status == 0


@pytest.mark.parametrize("runtime_program", ["crate-runc", "runc"], indirect=True)
def test_without_a_path_the_unit_is_named_for_the_runtime(driven: OciRuntime, contained: Bundle) -> None:
    """Its slice is that of services, or of a user's programs. (crun leaves it to systemd.)"""
    contained.without_namespace("cgroup").runs("/bin/cat", "/proc/self/cgroup")
    identity = driven.identity()
    out = driven.call("run", "--bundle", str(contained.write()), identity).out
    slice = "system.slice" if host.IS_ROOT else "user.slice"
    assert out.endswith(f"{slice}/{driven.name}-{identity}.scope\n"), out


@only_ours
def test_the_container_has_its_cgroup_for_itself(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    """A systemd in it could make cgroups of its own, with limits."""
    script = """
        cd /sys/fs/cgroup && mkdir leaf && echo 1 > leaf/cgroup.procs || exit 1
        echo +pids > cgroup.subtree_control && mkdir limited && echo 5 > limited/pids.max && cat limited/pids.max /proc/self/cgroup
    """
    assert driven.output(contained.script(script)) == "5\n0::/leaf\n"


@only_ours
def test_the_cgroup_belongs_to_the_user_of_a_user_namespace(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    host.need_root()
    contained.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        contained.linux[kind] = [{"containerID": 0, "hostID": 100_000, "size": 65536}]
    os.chown(contained.rootfs, 100_000, 100_000)
    contained.mount("/sys", type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
    contained.mount("/sys/fs/cgroup", type="cgroup", source="cgroup", options=WRITABLE)
    with driven.running(contained.script("mkdir /sys/fs/cgroup/made && exec sleep 1000")) as identity:
        directory = directory_of(driven.pid(identity))
        eventually((directory / "made").exists, "the container makes a cgroup")
        owners = {name: (directory / name).stat().st_uid for name in ("cgroup.procs", "cgroup.subtree_control", "memory.max")}
    assert owners == {"cgroup.procs": 100_000, "cgroup.subtree_control": 100_000, "memory.max": 0}


@only_ours
def test_a_container_that_ran_out_of_memory_leaves_no_failed_unit(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    contained.linux["resources"] |= {"memory": {"limit": MEMORY, "swap": MEMORY}}
    identity = driven.create(contained.runs("/bin/tail", "/dev/zero"))
    driven.call("start", identity)
    driven.wait_stopped(identity)
    driven.call("delete", identity)
    assert is_gone(driven.account, unit)
    assert driven.output(contained.script("echo again")) == "again\n"


@only_ours
def test_what_a_killed_create_leaves_is_deleted_by_force(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    """Killed by its own hook, when the scope is there and the container is not."""
    contained.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "kill -KILL $PPID; exec sleep 1"]}]}
    identity = driven.identity()
    result = driven.call("create", "--bundle", str(contained.runs(*SLEEP).write()), identity, status=None)
    assert result.status == -signal.SIGKILL, result
    driven.flags = ()
    driven.call("delete", "--force", identity)
    eventually(lambda: is_gone(driven.account, unit), "the unit is gone")
    assert not list(ROOT.glob(f"**/{unit}"))
    driven.flags = ("--systemd-cgroup",)
    del contained.config["hooks"]
    assert driven.output(contained.script("echo again")) == "again\n"


@only_ours
def test_a_unit_that_another_container_has_is_not_taken(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    with driven.running(contained.runs(*SLEEP)) as identity:
        result = driven.run(contained, status=1)
        assert f"start unit {unit}: Unit {unit} was already loaded" in result.err
        assert "another container has it" in result.err
        assert driven.status(identity) == "running"
        assert directory_of(driven.pid(identity)).name == unit


@only_ours
def test_a_path_of_the_other_driver_is_refused(driven: OciRuntime, contained: Bundle) -> None:
    contained.linux["cgroupsPath"] = "/a/b"
    result = driven.run(contained, status=1)
    assert "linux.cgroupsPath: expected cgroupsPath to be of format" in result.err


@only_ours
def test_where_no_systemd_answers_the_socket_is_named_and_what_to_do(driven: OciRuntime, contained: Bundle) -> None:
    run = driven.command("run", "--bundle", str(contained.write()), driven.identity())
    if host.IS_ROOT:
        hide = "mount -t tmpfs none /run/dbus && mount -t tmpfs none /run/systemd"
        result = driven.account.run(["unshare", "--mount", "sh", "-c", f'{hide} && exec "$@"', "sh", *run], cwd=driven.directory)
        socket = "/run/dbus/system_bus_socket"
    else:
        result = driven.account.run(run, env={"XDG_RUNTIME_DIR": "/tmp", "DBUS_SESSION_BUS_ADDRESS": ""}, cwd=driven.directory)
        socket = "/tmp/bus"
    assert result.status == 1
    assert f"{socket}: no such file or directory" in result.err, result
    assert "let the engine use the cgroupfs driver" in result.err


@only_ours
def test_a_controller_that_is_not_delegated_is_named_with_the_way_to_get_it(driven: OciRuntime, contained: Bundle) -> None:
    if host.IS_ROOT:
        pytest.skip("root has them all")
    contained.linux["resources"] = {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}
    result = driven.run(contained, status=1)
    assert "the controller hugetlb is not handed down to it; to delegate it to users, root runs" in result.err, result


@only_ours
def test_root_of_a_user_namespace_is_known_as_its_maker(driven: OciRuntime, contained: Bundle, unit: str) -> None:
    """An engine of an ordinary user calls us from within its user namespace."""
    if host.IS_ROOT:
        pytest.skip("needs an ordinary user")
    contained.linux["resources"] = {"pids": {"limit": 20}}
    for kind in ("uidMappings", "gidMappings"):
        contained.linux[kind][0]["hostID"] = 0
    contained.script("cat /sys/fs/cgroup/pids.max")
    run = driven.command("run", "--bundle", str(contained.write()), driven.identity())
    result = driven.account.run(["unshare", "--user", "--map-root-user", *run], cwd=driven.directory)
    assert result.out == "20\n", result
    assert is_gone(driven.account, unit)
