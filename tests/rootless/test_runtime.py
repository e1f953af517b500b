"""Low-level runtimes as an ordinary user: with the own id alone, and with subordinate ids through newuidmap and newgidmap."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from crate_runc import host as host_facts
from crate_runc.cgroup import paths as cgroup_paths
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


def subordinate(file: str, owner: str, number: int) -> tuple[int, int]:
    """First id and count of a user's range in /etc/subuid or /etc/subgid."""
    for line in Path(file).read_text().splitlines():
        name, first, count = line.split(":")
        if name in (owner, str(number)):
            return int(first), int(count)
    pytest.skip(f"needs subordinate ids of {owner} in {file}")


@pytest.fixture
def ranged(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> Bundle:
    """0 is the user, 1 and more are his subordinate ids."""
    account = rootless_runtime.account
    for kind, file, own in (("uidMappings", "/etc/subuid", account.uid), ("gidMappings", "/etc/subgid", account.gid)):
        first, count = subordinate(file, account.name, account.uid)
        rootless_bundle.linux[kind] = [
            {"containerID": 0, "hostID": own, "size": 1},
            {"containerID": 1, "hostID": first, "size": count},
        ]
    return rootless_bundle


def test_root_inside_is_the_user_outside(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    with rootless_runtime.running(rootless_bundle.runs(*SLEEP)) as identity:
        assert rootless_runtime.exec(identity, "id", "-u").out == "0\n"
        status = Path(f"/proc/{rootless_runtime.pid(identity)}/status").read_text()
        assert f"Uid:\t{rootless_runtime.account.uid}\t" in status
        (listed,) = json.loads(rootless_runtime.call("list", "--format", "json").out)
        assert listed["owner"] == rootless_runtime.account.name


def test_spec_for_a_user_can_be_run(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    rootless_runtime.call("spec", "--rootless", cwd=rootless_bundle.path)
    path = rootless_bundle.path / "config.json"
    config = json.loads(path.read_text())
    account = rootless_runtime.account
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": account.uid, "size": 1}]
    assert config["linux"]["gidMappings"] == [{"containerID": 0, "hostID": account.gid, "size": 1}]
    assert "resources" not in config["linux"]
    config["process"].update(args=["hostname"], terminal=False)
    path.write_text(json.dumps(config))
    assert rootless_runtime.call("run", rootless_runtime.identity(), cwd=rootless_bundle.path).out == f"{config['hostname']}\n"


def test_status_and_streams(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    result = rootless_runtime.run(rootless_bundle.script("cat; exit 5"), status=5, input="through")
    assert result.out == "through"


def test_groups_cannot_be_dropped_with_the_own_id_alone(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    """A group can take permissions away: who could leave it would get them (CVE-2014-8989)."""
    assert rootless_runtime.output(rootless_bundle.runs("cat", "/proc/self/setgroups")) == "deny\n"
    rootless_bundle.process["user"]["additionalGids"] = [0]
    rootless_runtime.fails("create", "--bundle", str(rootless_bundle.write()), rootless_runtime.identity())


def test_groups_can_be_set_with_a_range(rootless_runtime: OciRuntime, ranged: Bundle) -> None:
    """The look-alike."""
    assert rootless_runtime.output(ranged.runs("cat", "/proc/self/setgroups")) == "allow\n"
    if rootless_runtime.name == "runc":
        pytest.skip("a runtime that sets groups for an ordinary user: this runc refuses them all")
    ranged.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [5, 50]}
    assert sorted(map(int, rootless_runtime.output(ranged.runs("id", "-G")).split())) == [5, 50, 1000]


def test_range_of_ids(rootless_runtime: OciRuntime, ranged: Bundle) -> None:
    with rootless_runtime.running(ranged.runs(*SLEEP)) as identity:
        first, _ = subordinate("/etc/subuid", rootless_runtime.account.name, rootless_runtime.account.uid)
        rows = Path(f"/proc/{rootless_runtime.pid(identity)}/uid_map").read_text().splitlines()
        assert [row.split()[:2] for row in rows] == [["0", str(rootless_runtime.account.uid)], ["1", str(first)]]
        assert rootless_runtime.exec(identity, "id", "-u", flags=("--user", "1000:1000")).out == "1000\n"


def test_ids_of_others_are_refused(rootless_runtime: OciRuntime, ranged: Bundle) -> None:
    for ids in (0, 1):
        ranged.linux["uidMappings"][1]["hostID"] = ids
        rootless_runtime.fails("create", "--bundle", str(ranged.runs(*SLEEP).write()), rootless_runtime.identity())
    assert list(rootless_runtime.root.iterdir()) == []


def test_limits_without_delegation_are_an_error(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    if os.access("/sys/fs/cgroup/cgroup.controllers", os.F_OK):
        pytest.skip("needs a host without delegation of control groups to users (cgroup v1)")
    rootless_bundle.linux["resources"] = {"pids": {"limit": 10}}
    result = rootless_runtime.fails("create", "--bundle", str(rootless_bundle.runs(*SLEEP).write()), rootless_runtime.identity())
    assert "cgroup" in result.err or "limit" in result.err


def test_control_groups_of_the_host_cannot_be_changed(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    """CVE-2023-25809: /sys is the host's, and so is what is mounted below it."""
    out = rootless_runtime.output(
        rootless_bundle.script("for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/ct-x && echo made; done 2>/dev/null; true")
    )
    assert out == ""


def test_devices_work_without_mknod(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    script = "echo lost > /dev/null; head -c 2 /dev/zero | od -An -tx1; head -c 8 /dev/urandom | wc -c; ls /dev"
    lines = rootless_runtime.output(rootless_bundle.script(script)).split()
    assert lines[:3] == ["00", "00", "8"]
    assert {"full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"} <= set(lines[3:])


def test_state_is_kept_in_the_runtime_directory(rootless_runtime: OciRuntime) -> None:
    """Without --root. The directory is the user's alone."""
    result = rootless_runtime.account.run([rootless_runtime.program, "list", "--quiet"], status=0)
    assert result.out == ""
    home = rootless_runtime.account.runtime_dir / rootless_runtime.name
    if home.exists():
        assert home.stat().st_mode & 0o077 in (0, 0o011)
        home.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make the cgroups of another")
def test_cgroup_of_the_same_name_that_is_roots_is_left_alone(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    """No limit is asked for, so none is missed."""
    identity = rootless_runtime.identity()
    made = []
    for directory in cgroup_paths.plan({}, host_facts.probe(), identity).values():
        with suppress(OSError):
            os.mkdir(directory)
            made.append(directory)
    assert made
    try:
        rootless_runtime.call("run", "--bundle", str(rootless_bundle.runs("true").write()), identity)
        assert all(os.path.isdir(directory) for directory in made)
    finally:
        for directory in made:
            with suppress(FileNotFoundError):
                os.rmdir(directory)
