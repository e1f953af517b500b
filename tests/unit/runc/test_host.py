"""What is read from /proc about cgroups, and what follows from it."""

from __future__ import annotations

import pytest

from crate_runc import host
from crate_runc.host import HostFacts, cgroup_mode_of, parse_cgroup_mounts, parse_own_cgroups

V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:32 / /mnt/again\\040and\\134again rw - cgroup cgroup rw,memory
"""


def test_mounts_of_v2() -> None:
    mounts = parse_cgroup_mounts("22 1 0:5 / /proc rw - proc proc rw\n" + V2)
    assert mounts == {"": ("/sys/fs/cgroup", "/")}
    assert cgroup_mode_of(mounts) == "v2"


def test_mounts_of_a_hybrid_host_keep_the_first_of_each_hierarchy() -> None:
    mounts = parse_cgroup_mounts(HYBRID)
    assert mounts["cpu"] == mounts["cpuacct"] == ("/sys/fs/cgroup/cpu,cpuacct", "/")
    assert mounts["memory"] == ("/sys/fs/cgroup/memory", "/docker/abc")
    assert mounts["name=systemd"] == ("/sys/fs/cgroup/systemd", "/")
    assert mounts[""] == ("/sys/fs/cgroup/unified", "/")
    assert cgroup_mode_of(mounts) == "hybrid"


def test_mount_points_are_unescaped() -> None:
    assert parse_cgroup_mounts(HYBRID.splitlines()[-1])["memory"][0] == "/mnt/again and\\again"


@pytest.mark.parametrize(("mountinfo", "mode"), [("", "none"), (HYBRID.splitlines()[1], "v1")])
def test_other_modes(mountinfo: str, mode: str) -> None:
    assert cgroup_mode_of(parse_cgroup_mounts(mountinfo)) == mode


def test_own_cgroups_by_controller() -> None:
    assert parse_own_cgroups("4:memory:/a:b\n2:cpu,cpuacct:/c\n1:name=systemd:/\n0::/d\n") == {
        "memory": "/a:b",
        "cpu": "/c",
        "cpuacct": "/c",
        "name=systemd": "/",
        "": "/d",
    }


@pytest.mark.parametrize(
    ("euid", "nested", "flag", "rootless"),
    [(0, False, None, False), (1000, False, None, True), (0, True, None, True), (0, True, False, False), (0, False, True, True)],
)
def test_rootless_is_guessed_unless_it_is_said(euid: int, nested: bool, flag: bool | None, rootless: bool) -> None:
    assert HostFacts(euid=euid, in_user_namespace=nested, rootless=flag).rootless is rootless


def test_this_host_can_be_probed() -> None:
    facts = host.probe()
    assert facts.kernel >= (5, 0)
    assert facts.last_capability >= 36
    assert set(facts.cgroup_mounts) <= set(facts.own_cgroups) | {""}
