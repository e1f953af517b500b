"""What of a container is the host's: named at a checkpoint, found again at a restore."""

from __future__ import annotations

from typing import Any

import pytest

from crate_runc.checkpoint import external

MOUNTINFO = """\
100 50 8:1 /srv/bundle/rootfs / ro,relatime - ext4 /dev/sda1 rw
101 100 0:30 / /proc rw - proc proc rw
102 100 0:31 / /dev rw - tmpfs tmpfs rw
103 102 0:32 / /dev/pts rw - devpts devpts rw
104 102 0:32 /0 /dev/console rw - devpts devpts rw
105 101 0:30 /sys /proc/sys ro - proc proc rw
106 101 0:6 /null /proc/kcore rw - devtmpfs udev rw
107 101 0:40 / /proc/acpi ro - tmpfs tmpfs ro
108 100 8:1 /srv/with\\040space /data rw - ext4 /dev/sda1 rw
109 100 0:50 / /volume rw - tmpfs tmpfs rw
110 100 0:33 / /sys ro - sysfs sysfs ro
111 110 0:34 /ct /sys/fs/cgroup ro - cgroup2 cgroup2 rw
"""


def same(path: str) -> str:
    return path


def test_binds_masks_and_the_hosts_cgroups_are_external_and_nothing_else() -> None:
    assert external.mounts_to_save(MOUNTINFO, {"/data", "/volume"}) == [
        "mnt[/proc/kcore]:/proc/kcore",
        "mnt[/data]:/data",
        "mnt[/volume]:/volume",
        "mnt[/sys/fs/cgroup]:/sys/fs/cgroup",
    ]


def test_a_whole_file_system_that_nobody_bound_is_the_containers_own() -> None:
    assert "mnt[/volume]:/volume" not in external.mounts_to_save(MOUNTINFO, {"/data"})


def test_names_with_spaces_are_written_plainly() -> None:
    line = "108 100 8:1 /x /a\\040b rw - ext4 /dev/sda1 rw\n"
    assert external.mounts_to_save(line, set()) == ["mnt[/a b]:/a b"]


def test_every_mount_that_was_saved_is_restored_from_the_bundle() -> None:
    config: dict[str, Any] = {
        "mounts": [
            {"destination": "/data", "type": "bind", "source": "data", "options": ["rw"]},
            {"destination": "/volume", "type": "none", "source": "/srv/v", "options": ["rbind"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
        ],
        "linux": {"maskedPaths": ["/proc/kcore"], "devices": [{"path": "/dev/fuse", "type": "c"}]},
    }
    assert external.mounts_to_restore(config, "/bundle", {"": "/sys/fs/cgroup/ct"}, same) == [
        "mnt[/data]:/bundle/data",
        "mnt[/volume]:/srv/v",
        "mnt[/sys/fs/cgroup]:/sys/fs/cgroup/ct",
        "mnt[/dev/fuse]:/dev/fuse",
        "mnt[/proc/kcore]:/dev/null",
    ]


def test_with_several_hierarchies_each_is_found_below_the_mount_point() -> None:
    config: dict[str, Any] = {"mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]}
    cgroups = {"cpu": "/sys/fs/cgroup/cpu,cpuacct/ct", "memory": "/sys/fs/cgroup/memory/ct"}
    assert external.mounts_to_restore(config, "/b", cgroups, same) == [
        "mnt[/sys/fs/cgroup/cpu,cpuacct]:/sys/fs/cgroup/cpu,cpuacct/ct",
        "mnt[/sys/fs/cgroup/memory]:/sys/fs/cgroup/memory/ct",
    ]


def test_links_in_the_root_file_system_are_resolved() -> None:
    config: dict[str, Any] = {"mounts": [{"destination": "/var/run/x", "type": "bind", "source": "/x"}]}
    assert external.bound_at(config, lambda path: path.replace("/var/run", "/run")) == {"/run/x"}


def test_mount_points_on_a_tmpfs_are_left_to_criu() -> None:
    config: dict[str, Any] = {
        "mounts": [
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/x", "type": "bind", "source": "/x"},
            {"destination": "/data", "type": "bind", "source": "/d"},
        ]
    }
    assert external.bind_points(config) == [("/data", "/d")]


@pytest.mark.parametrize(
    ("kind", "saved", "inherited", "joined"),
    [
        ("network", "net[12]:extRootNetNS", "extRootNetNS", None),
        ("pid", "pid[12]:extRootPidNS", "extRootPidNS", None),
        ("ipc", None, None, {"ns": "ipc", "ns_file": "/n"}),
        ("mount", None, None, {"ns": "mnt", "ns_file": "/n"}),
        ("cgroup", None, None, None),
    ],
)
def test_namespaces_by_path(kind: str, saved: str | None, inherited: str | None, joined: dict[str, str] | None) -> None:
    assert external.namespace_to_save(kind, 12) == saved
    assert external.inherited_namespace(kind) == inherited
    assert external.joined_namespace(kind, "/n") == joined


@pytest.mark.parametrize(
    ("link", "key"),
    [("pipe:[9]", "pipe:[9]"), ("socket:[9]", "socket:[9]"), ("/dev/null", "file[1f:a]"), ("/srv/log", "file[1f:a]")],
)
def test_open_files_of_the_host_have_keys(link: str, key: str) -> None:
    assert external.descriptor_key(link, 31, 10, {30}) == key


def test_an_open_file_of_the_container_has_none() -> None:
    assert external.descriptor_key("/dev/null", 31, 10, {30, 31}) == ""
    assert external.mount_ids("31 1 0:1 / / rw\n32 31 0:2 / /x rw\n") == {31, 32}
