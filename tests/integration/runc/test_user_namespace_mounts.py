"""Bind mounts, idmapped mounts and devices of containers with a user namespace, made by root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crate_runc.kernel import idmap, mount
from tests.support import rootfs
from tests.support.runtime import Bundle, OciRuntime

FIRST, COUNT = 200000, 65536
SLEEP = ("/bin/sleep", "1000")


@pytest.fixture(params=["crate-runc"])
def runtime_program(request: pytest.FixtureRequest, bin_directory: Path) -> tuple[str, str]:
    """runc 1.1 has no idmapped mounts."""
    return request.param, str(bin_directory / request.param)


@pytest.fixture
def mapped(runtime: OciRuntime, bundle: Bundle) -> Bundle:
    """0 to 65535 are 200000 to 265535 of the host, and so is the root file system."""
    bundle.namespace("user")
    for side in ("uidMappings", "gidMappings"):
        bundle.linux[side] = [{"containerID": 0, "hostID": FIRST, "size": COUNT}]
    rootfs.give_to(bundle.rootfs, FIRST, FIRST)
    bundle.path.chmod(0o755)
    return bundle


@pytest.fixture
def volume(runtime: OciRuntime) -> Iterator[Path]:
    """With files of root and of user 5, group 6 of the host, on a file system that can be idmapped: a tmpfs since Linux 6.3."""
    for parent in (runtime.directory, Path(tempfile.gettempdir())):
        directory = Path(tempfile.mkdtemp(dir=parent))
        if can_be_idmapped(directory):
            break
        directory.rmdir()
    else:
        pytest.skip("needs a file system that can be idmapped")
    directory.chmod(0o755)
    (directory / "below").mkdir()
    for name, uid, gid in (("root", 0, 0), ("other", 5, 6)):
        (directory / name).write_text(f"{name}\n")
        os.chown(directory / name, uid, gid)
    yield directory
    shutil.rmtree(directory)


def can_be_idmapped(directory: Path) -> bool:
    tree = mount.open_tree_at(str(directory))
    namespace = idmap.user_namespace("0 1 1\n", "0 1 1\n")
    try:
        idmap.apply(tree, namespace, recursive=False)
    except OSError:
        return False
    finally:
        os.close(tree)
        os.close(namespace)
    return True


OWNERS = "stat -c '%n %u %g' /mnt/root /mnt/other"


def owners(runtime: OciRuntime, bundle: Bundle) -> list[str]:
    return runtime.output(bundle.script(OWNERS)).split()


def test_without_a_mapping_files_of_the_host_belong_to_nobody(runtime: OciRuntime, mapped: Bundle, volume: Path) -> None:
    mapped.mount("/mnt", type="bind", source=str(volume), options=["rbind"])
    assert owners(runtime, mapped)[1:3] == ["65534", "65534"]


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_mapping_of_the_container_is_taken_over(runtime: OciRuntime, mapped: Bundle, volume: Path, option: str) -> None:
    mapped.mount("/mnt", type="bind", source=str(volume), options=["rbind", option])
    assert owners(runtime, mapped) == ["/mnt/root", "0", "0", "/mnt/other", "5", "6"]
    runtime.run(mapped.script("echo new > /mnt/new"))
    assert (volume / "new").stat().st_uid == 0


def test_mapping_of_the_mount(runtime: OciRuntime, mapped: Bundle, volume: Path) -> None:
    users = [{"containerID": 5, "hostID": FIRST + 77, "size": 1}, {"containerID": 0, "hostID": FIRST, "size": 1}]
    groups = [{"containerID": 6, "hostID": FIRST + 78, "size": 1}, {"containerID": 0, "hostID": FIRST + 1, "size": 1}]
    mapped.mount("/mnt", type="bind", source=str(volume), options=["bind"], uidMappings=users, gidMappings=groups)
    assert owners(runtime, mapped) == ["/mnt/root", "0", "1", "/mnt/other", "77", "78"]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (f"uids=0-{FIRST}-1#5-{FIRST + 9}-1;gids=0-{FIRST}-1#6-{FIRST + 8}-1", ["0", "0", "9", "8"]),
        ("uids=@0-0-1#@5-9-1;gids=@0-0-1#@6-8-1", ["0", "0", "9", "8"]),
        ("uids=@5-0-1#@0-1-1", ["1", "0", "0", "6"]),  # groups as in the container
    ],
)
def test_mapping_in_the_option(runtime: OciRuntime, mapped: Bundle, volume: Path, text: str, seen: list[str]) -> None:
    mapped.mount("/mnt", type="bind", source=str(volume), options=["bind", f"idmap={text}"])
    words = owners(runtime, mapped)
    assert [words[index] for index in (1, 2, 4, 5)] == seen


def test_mapping_without_a_user_namespace(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    mapping = [{"containerID": 5, "hostID": 1000, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}]
    groups = [{"containerID": 6, "hostID": 1001, "size": 1}, {"containerID": 0, "hostID": 0, "size": 1}]
    bundle.mount("/mnt", type="bind", source=str(volume), options=["bind", "ro"], uidMappings=mapping, gidMappings=groups)
    assert owners(runtime, bundle) == ["/mnt/root", "0", "0", "/mnt/other", "1000", "1001"]


def test_mapping_of_a_user_namespace_that_is_joined(runtime: OciRuntime, mapped: Bundle, volume: Path) -> None:
    with runtime.running(mapped.runs(*SLEEP)) as first:
        mapped.namespace("user", f"/proc/{runtime.pid(first)}/ns/user")
        for side in ("uidMappings", "gidMappings"):
            del mapped.linux[side]
        mapped.mount("/mnt", type="bind", source=str(volume), options=["rbind", "idmap"])
        assert owners(runtime, mapped) == ["/mnt/root", "0", "0", "/mnt/other", "5", "6"]


@contextmanager
def tmpfs_on(directory: Path) -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(directory)], check=True)
    try:
        (directory / "deep").write_text("")
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


@pytest.mark.parametrize(("option", "seen"), [("idmap", "65534"), ("ridmap", "0")])
def test_mounts_below_are_mapped_by_ridmap_alone(
    runtime: OciRuntime, mapped: Bundle, volume: Path, option: str, seen: str
) -> None:
    with tmpfs_on(volume / "below"):
        mapped.mount("/mnt", type="bind", source=str(volume), options=["rbind", option])
        assert runtime.output(mapped.script("stat -c %u /mnt/root /mnt/below/deep")).split() == ["0", seen]


@pytest.mark.parametrize("flags", [["ro"], ["nosuid", "nodev", "noexec"], ["rro"]])
def test_flags_of_an_idmapped_mount(runtime: OciRuntime, mapped: Bundle, volume: Path, flags: list[str]) -> None:
    mapped.mount("/mnt", type="bind", source=str(volume), options=["rbind", "idmap", *flags])
    line = runtime.output(mapped.script("grep ' /mnt ' /proc/self/mounts"))
    assert {flag.removeprefix("r") if flag == "rro" else flag for flag in flags} <= set(line.split()[3].split(","))


def test_file_that_is_idmapped(runtime: OciRuntime, mapped: Bundle, volume: Path) -> None:
    mapped.mount("/etc/other", type="bind", source=str(volume / "other"), options=["bind", "idmap"])
    assert runtime.output(mapped.script("stat -c '%u %g' /etc/other; cat /etc/other")) == "5 6\nother\n"


@pytest.mark.parametrize(
    ("source", "why"),
    [("/proc", "cannot be idmapped"), ("/no/such/place", "stat /no/such/place: no such file or directory")],
)
def test_what_cannot_be_idmapped_is_an_error(runtime: OciRuntime, mapped: Bundle, volume: Path, source: str, why: str) -> None:
    mapped.mount("/mnt", type="bind", source=source, options=["bind", "idmap"])
    result = runtime.run(mapped.runs("true"), status=1)
    assert f'error mounting "{source}" to rootfs at "/mnt": ' in result.err.replace("\\", "")
    assert why in result.err


def test_no_process_and_no_mount_is_left_of_the_mapping(runtime: OciRuntime, mapped: Bundle, volume: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    mapped.mount("/mnt", type="bind", source=str(volume), options=["bind", "idmap"])
    with runtime.running(mapped.runs(*SLEEP)):
        assert Path("/proc/self/mountinfo").read_text() == before
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        assert not [pid for pid in children if Path(f"/proc/{pid}/uid_map").read_text().split()[1:2] == [str(FIRST)]]


# --- without a mapping


def test_source_that_only_root_can_reach(runtime: OciRuntime, mapped: Bundle) -> None:
    """Volumes of Kubernetes lie below directories that nobody else may enter."""
    closed = runtime.directory / "closed"
    (closed / "volume").mkdir(parents=True)
    (closed / "volume/file").write_text("reached\n")
    closed.chmod(0o700)
    mapped.mount("/mnt", type="bind", source=str(closed / "volume"), options=["rbind", "ro"])
    mapped.mount("/etc/file", type="bind", source=str(closed / "volume/file"), options=["bind"])
    assert runtime.output(mapped.script("cat /mnt/file /etc/file")) == "reached\nreached\n"


def test_mounts_of_the_container_do_not_reach_the_host(runtime: OciRuntime, mapped: Bundle) -> None:
    shared = runtime.directory / "shared"
    (shared / "place").mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(shared), str(shared)], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", str(shared)], check=True)
        before = Path("/proc/self/mountinfo").read_text()
        mapped.mount("/mnt", type="bind", source=str(shared), options=["rbind", "rslave"])
        mapped.mount("/mnt/place", type="tmpfs", source="tmpfs")
        with runtime.running(mapped.runs(*SLEEP)) as identity:
            assert Path("/proc/self/mountinfo").read_text() == before
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "late", str(shared / "place")], check=True)
            assert "size=12k" in runtime.exec(identity, "cat", "/proc/self/mounts").out
            subprocess.run(["umount", str(shared / "place")], check=True)
    finally:
        subprocess.run(["umount", "-l", str(shared)], check=True)


@pytest.mark.parametrize("options", [["rbind"], ["rbind", "idmap"]])
def test_restrictions_of_the_hosts_mounts_cannot_be_taken_away_inside(
    runtime: OciRuntime, mapped: Bundle, volume: Path, options: list[str]
) -> None:
    """Not even with all rights over the container's own mounts: they are locked, and so is what is mounted below."""
    mapped.process["capabilities"] = {
        kind: ["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"] for kind in ("bounding", "permitted", "effective")
    }
    (volume / "below/hidden").write_text("hidden\n")
    with tmpfs_on(volume / "below"):
        subprocess.run(["mount", "--rbind", str(volume), str(volume)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro,nosuid", str(volume)], check=True)
            mapped.mount("/mnt", type="bind", source=str(volume), options=options)
            script = (
                "mount -o remount,bind,rw,suid /mnt 2>/dev/null && echo writable; umount /mnt/below 2>/dev/null && echo revealed;"
                "cat /mnt/below/hidden 2>/dev/null; mount -t tmpfs tmpfs /home && echo mounts"
            )
            assert runtime.output(mapped.script(script)) == "mounts\n"
        finally:
            subprocess.run(["umount", "-l", str(volume)], check=True)


def test_devices_are_the_hosts(runtime: OciRuntime, mapped: Bundle) -> None:
    mapped.linux["devices"] = [
        {"path": "/dev/below/fifo", "type": "p", "fileMode": 0o620, "uid": 3, "gid": 4},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
    ]
    out = runtime.output(
        mapped.script("echo lost > /dev/null; stat -c '%F %t:%T' /dev/null; stat -c '%F %a %u %g' /dev/below/fifo")
    )
    assert out.splitlines() == ["character special file 1:3", "fifo 620 3 4"]


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ({"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}, "bind device /dev/zero: the host's is not c 1:3"),
        ({"path": "/dev/crate-none", "type": "c", "major": 1, "minor": 3}, "bind device /dev/crate-none: no such file"),
        ({"path": "/etc/passwd", "type": "b", "major": 8, "minor": 0}, "bind device /etc/passwd: the host's is not b 8:0"),
    ],
)
def test_another_device_of_that_name_is_an_error(runtime: OciRuntime, mapped: Bundle, device: dict[str, Any], why: str) -> None:
    mapped.linux["devices"] = [device]
    assert why in runtime.run(mapped.runs("true"), status=1).err


def test_sysfs_of_a_network_that_is_not_ours_is_the_hosts(runtime: OciRuntime, mapped: Bundle) -> None:
    """All of it read-only, control groups as well (CVE-2023-25809)."""
    mapped.without_namespace("network")
    mapped.config["mounts"] = [entry for entry in mapped.config["mounts"] if entry["destination"] != "/sys/fs/cgroup"]
    rows = [line.split() for line in runtime.output(mapped.runs("cat", "/proc/self/mounts")).splitlines()]
    below = {row[1]: row[3].split(",") for row in rows if row[1] == "/sys" or row[1].startswith("/sys/")}
    assert "/sys" in below
    assert all("ro" in options for options in below.values()), below
