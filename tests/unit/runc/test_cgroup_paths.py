"""Where a container's cgroups are, for each form of cgroupsPath and each mode of the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crate_runc.cgroup import paths
from crate_runc.host import HostFacts

if TYPE_CHECKING:
    from crate_runc.host import CgroupMode


def facts(mode: CgroupMode, own: str = "/user/shell", root: str = "/") -> HostFacts:
    if mode == "v2":
        return HostFacts(cgroup_mode="v2", cgroup_mounts={"": ("/sys/fs/cgroup", root)}, own_cgroups={"": own})
    mounts = {
        "memory": ("/sys/fs/cgroup/memory", root),
        "cpu": ("/sys/fs/cgroup/cpu,cpuacct", "/"),
        "": ("/sys/fs/cgroup/unified", "/"),
    }
    return HostFacts(cgroup_mode=mode, cgroup_mounts=mounts, own_cgroups={"memory": own, "cpu": "/", "": "/"})


def plan(cgroups_path: str | None, host: HostFacts) -> dict[str, str]:
    return paths.plan({"linux": {"cgroupsPath": cgroups_path} if cgroups_path is not None else {}}, host, "c1")


@pytest.mark.parametrize("written", ["/a/b", "/a//b/", "/./a/b"])
def test_an_absolute_path_starts_at_the_mount_point(written: str) -> None:
    assert plan(written, facts("v2")) == {"": "/sys/fs/cgroup/a/b"}
    assert plan(written, facts("hybrid")) == {
        "memory": "/sys/fs/cgroup/memory/a/b",
        "cpu": "/sys/fs/cgroup/cpu,cpuacct/a/b",
        "": "/sys/fs/cgroup/unified/a/b",
    }


@pytest.mark.parametrize(("written", "end"), [(None, "c1"), ("", "c1"), ("x/y", "x/y")])
def test_on_v1_the_rest_is_below_our_own_cgroup(written: str | None, end: str) -> None:
    planned = plan(written, facts("hybrid"))
    assert planned["memory"] == f"/sys/fs/cgroup/memory/user/shell/{end}"
    assert planned["cpu"] == f"/sys/fs/cgroup/cpu,cpuacct/{end}"


@pytest.mark.parametrize(("own", "directory"), [("/user/shell", "/sys/fs/cgroup/user/c1"), ("/", "/sys/fs/cgroup/c1")])
def test_on_v2_the_rest_is_beside_our_own_cgroup(own: str, directory: str) -> None:
    assert plan(None, facts("v2", own)) == {"": directory}


def test_our_own_cgroup_is_seen_from_the_root_of_the_mount() -> None:
    assert plan(None, facts("v1", "/docker/abc/x", "/docker/abc"))["memory"] == "/sys/fs/cgroup/memory/x/c1"


@pytest.mark.parametrize("mode", ["v1", "v2"])
def test_a_cgroup_outside_of_our_namespace_counts_as_the_root(mode: CgroupMode) -> None:
    planned = plan(None, facts(mode, "/../other"))
    assert planned["" if mode == "v2" else "memory"].endswith("/c1")
    assert not any(".." in directory for directory in planned.values())


def test_the_mount_point_of_a_directory() -> None:
    host = facts("hybrid")
    assert paths.mount_point_of("/sys/fs/cgroup/memory/a", "memory", host) == "/sys/fs/cgroup/memory"
    assert paths.mount_point_of("/sys/fs/cgroup/memoryx/a", "memory", host) == ""
    assert paths.mount_point_of("/sys/fs/cgroup/pids/a", "pids", host) == ""
