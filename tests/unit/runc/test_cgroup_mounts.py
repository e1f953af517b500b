"""Where a mount of type cgroup finds the container's own cgroup. That it is the right one there is tested on real hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    ("root", "own", "directory"),
    [
        ("/", "/", "/sys/fs/cgroup/pids"),
        ("/", "/a/b", "/sys/fs/cgroup/pids/a/b"),
        ("/docker/1", "/docker/1", "/sys/fs/cgroup/pids"),
        ("/docker/1", "/docker/1/inner", "/sys/fs/cgroup/pids/inner"),
        ("/docker/1", "/docker/12", "/sys/fs/cgroup/pids/docker/12"),
    ],
)
def test_a_mount_may_show_a_part_of_its_hierarchy(root: str, own: str, directory: str) -> None:
    """As in a container without a cgroup namespace."""
    assert cgroup_mounts._below("/sys/fs/cgroup/pids", root, own) == directory


MOUNTINFO = """\
30 23 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,name=systemd
32 30 0:28 /part /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/elogind rw - cgroup cgroup rw,name=elogind
34 30 0:30 / /sys/fs/cgroup/unified rw shared:11 - cgroup2 cgroup2 rw,nsdelegate
35 30 0:31 / /mnt/elsewhere rw - cgroup cgroup rw,pids
"""


def test_hierarchies_are_those_below_the_usual_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTINFO)
    real_open = open
    monkeypatch.setattr("builtins.open", lambda path, **options: real_open(file if "mountinfo" in str(path) else path, **options))
    own = {"name=systemd": "/s", "cpu,cpuacct": "/part/c", "name=elogind": "/e", "pids": "/p", "": "/u"}
    assert cgroup_mounts._hierarchies(own) == [
        ("systemd", "/", "name=systemd"),
        ("cpu,cpuacct", "/part", "cpu,cpuacct"),
        ("elogind", "/", "name=elogind"),
    ]
    assert cgroup_mounts._root_of_unified() == "/"
