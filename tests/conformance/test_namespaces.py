"""linux.namespaces, uidMappings and gidMappings: made, shared with the host, and joined by path."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")
FILES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "user": "user", "cgroup": "cgroup"}


def namespace(pid: int | str, file: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{file}")


@contextmanager
def holder(*flags: str) -> Iterator[int]:
    """A process in namespaces of its own; its pid."""
    process = subprocess.Popen(["unshare", *flags, "sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "unshare has started the program")
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "mount", "cgroup"])
def test_new_namespace(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    bundle.namespace(kind)
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert namespace(runtime.pid(identity), FILES[kind]) != namespace("self", FILES[kind])


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_namespace_that_is_not_named_is_shared(runtime: OciRuntime, bundle: Bundle, kind: str) -> None:
    bundle.without_namespace(kind)
    if kind == "uts":
        del bundle.config["hostname"]
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        assert namespace(runtime.pid(identity), FILES[kind]) == namespace("self", FILES[kind])


@pytest.mark.parametrize(("kind", "flag"), [("network", "--net"), ("ipc", "--ipc"), ("uts", "--uts"), ("cgroup", "--cgroup")])
def test_namespace_joined_by_path(runtime: OciRuntime, bundle: Bundle, kind: str, flag: str) -> None:
    with holder(flag) as pid:
        bundle.namespace(kind, f"/proc/{pid}/ns/{FILES[kind]}")
        with runtime.running(bundle.runs(*SLEEP)) as identity:
            assert namespace(runtime.pid(identity), FILES[kind]) == namespace(pid, FILES[kind])


def test_pid_namespace_of_another_container(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as first:
        bundle.namespace("pid", f"/proc/{runtime.pid(first)}/ns/pid").script("ps -o comm,args")
        assert "sleep 1000" in runtime.output(bundle)


def test_namespace_of_the_wrong_type_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("network", "/proc/self/ns/ipc")
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())


def test_namespace_path_that_is_missing_is_named(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("network", "/proc/self/ns/nothing")
    assert "/proc/self/ns/nothing" in runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity()).err


def test_first_process_is_pid_one(runtime: OciRuntime, bundle: Bundle) -> None:
    assert runtime.output(bundle.script("echo $$ $PPID")) == "1 0\n"


def test_new_network_has_a_loopback_that_is_up(runtime: OciRuntime, bundle: Bundle) -> None:
    out = runtime.output(bundle.script("cat /sys/class/net/lo/flags; ls /sys/class/net"))
    flags, *devices = out.split()
    assert int(flags, 16) & 1
    assert devices == ["lo"]


def test_hostname(runtime: OciRuntime, bundle: Bundle) -> None:
    before = os.uname().nodename
    assert runtime.output(bundle.runs("hostname")) == "inside\n"
    assert os.uname().nodename == before


def test_hostname_without_a_namespace_for_it_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    before = os.uname().nodename
    bundle.without_namespace("uts").runs("hostname")
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    assert os.uname().nodename == before


def test_cgroup_namespace_hides_the_path(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.namespace("cgroup").linux["cgroupsPath"] = "/ct-hidden"
    out = runtime.output(bundle.runs("cat", "/proc/self/cgroup"))
    assert "ct-hidden" not in out


def user_namespace(bundle: Bundle, first: int = 100000, size: int = 65536) -> Bundle:
    bundle.namespace("user")
    for kind in ("uidMappings", "gidMappings"):
        bundle.linux[kind] = [{"containerID": 0, "hostID": first, "size": size}]
    for path in (bundle.rootfs, *bundle.rootfs.rglob("*")):
        os.chown(path, first, first, follow_symlinks=False)
    return bundle


def test_user_namespace_maps_ids(runtime: OciRuntime, bundle: Bundle) -> None:
    user_namespace(bundle).runs(*SLEEP)
    with runtime.running(bundle) as identity:
        pid = runtime.pid(identity)
        assert Path(f"/proc/{pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
        assert Path(f"/proc/{pid}/gid_map").read_text().split() == ["0", "100000", "65536"]
        assert os.stat(f"/proc/{pid}").st_uid in (0, 100000)  # 0 while the process is not dumpable
        assert "Uid:\t100000\t100000\t100000\t100000" in Path(f"/proc/{pid}/status").read_text()
        assert runtime.exec(identity, "id", "-u").out == "0\n"


def test_user_namespace_keeps_setgroups(runtime: OciRuntime, bundle: Bundle) -> None:
    user_namespace(bundle).process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 50]}
    assert sorted(map(int, runtime.output(bundle.runs("id", "-G")).split())) == [5, 50, 1000]


def test_user_namespace_of_several_ranges(runtime: OciRuntime, bundle: Bundle) -> None:
    user_namespace(bundle)
    ranges = [{"containerID": 0, "hostID": 100000, "size": 10}, {"containerID": 1000, "hostID": 200000, "size": 5}]
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = ranges
    bundle.process["user"] = {"uid": 1004, "gid": 1000}
    out = runtime.output(bundle.script("id -u; cat /proc/self/uid_map"))
    assert out.split() == ["1004", "0", "100000", "10", "1000", "200000", "5"]


def test_user_without_a_mapping_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    user_namespace(bundle, size=10).process["user"] = {"uid": 1000, "gid": 0}
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())


def test_user_namespace_joined_by_path(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc":
        pytest.skip("a runtime that takes the mappings of a user namespace that exists: this runc wants them repeated")
    with holder("--user", "--map-root-user") as pid:
        for name in ("uidMappings", "gidMappings"):
            bundle.linux.pop(name, None)
        bundle.namespace("user", f"/proc/{pid}/ns/user")
        with runtime.running(bundle.runs(*SLEEP)) as identity:
            assert namespace(runtime.pid(identity), "user") == namespace(pid, "user")


def test_mappings_without_a_user_namespace_are_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    if runtime.name == "runc":
        pytest.skip("a runtime that refuses mappings without a user namespace: this runc waits for ever")
    bundle.linux["uidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())


def test_ids_of_the_range_own_device_files(runtime: OciRuntime, bundle: Bundle) -> None:
    """In a user namespace device nodes cannot be made; those of the host are bound."""
    user_namespace(bundle)
    assert runtime.output(bundle.script("echo lost > /dev/null; head -c 4 /dev/zero | od -An -tx1")).split() == ["00"] * 4
    assert host.IS_ROOT
