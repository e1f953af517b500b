"""Where a mount of type cgroup finds the container's own cgroup. That it is the right one there is tested on real hosts."""

from __future__ import annotations

from pathlib import Path

from crate_runc.process import channel
from crate_runc.steps import cgroup_mounts
from crate_runc.steps.step import ChildContext


def _child() -> ChildContext:
    ours, theirs = channel.pair()
    theirs.close()
    return ChildContext({}, "/bundle", "/bundle/rootfs", ours, {})


def test_the_path_from_before_the_cgroup_namespace_counts() -> None:
    """What the kernel says in the namespace is `/`: to bind that shows the cgroups of the host."""
    child = _child()
    child.own_cgroups = "4:cpu,cpuacct:/a:b\n0::/user.slice/x\u2028y\n"
    assert cgroup_mounts._own_paths(child) == {"cpu,cpuacct": "/a:b", "": "/user.slice/x\u2028y"}


def test_without_a_cgroup_namespace_the_kernel_is_asked() -> None:
    said = Path("/proc/self/cgroup").read_text()
    assert cgroup_mounts._own_paths(_child()) == dict(line.split(":", 2)[1:] for line in said.splitlines())
