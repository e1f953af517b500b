"""root, mounts, devices, maskedPaths, readonlyPaths, rootfsPropagation: what the container's file system looks like."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


def options_of(text: str, destination: str) -> set[str]:
    """From /proc/self/mounts."""
    rows = [line.split() for line in text.splitlines()]
    return {option for row in rows if row[1] == destination for option in row[3].split(",")}


def mounted(runtime: OciRuntime, bundle: Bundle, destination: str) -> set[str]:
    return options_of(runtime.output(bundle.runs("cat", "/proc/self/mounts")), destination)


def test_root_is_the_bundles(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.rootfs / "etc/only-here").write_text("yes")
    out = runtime.output(bundle.script("cat /etc/only-here; ls -a / | grep -c oldroot"), status=1)
    assert out == "yes0\n"


def test_read_only_root(runtime: OciRuntime, bundle: Bundle) -> None:
    result = runtime.run(bundle.runs("touch", "/file"), status=1)
    assert "Read-only file system" in result.err


def test_writable_root(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    runtime.run(bundle.script("echo kept > /file"))
    assert (bundle.rootfs / "file").read_text() == "kept\n"


def test_root_outside_the_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    elsewhere = runtime.directory / "elsewhere"
    bundle.rootfs.rename(elsewhere)
    bundle.config["root"]["path"] = str(elsewhere)
    assert runtime.output(bundle.runs("echo", "fine")) == "fine\n"


def test_parent_of_root_is_root(runtime: OciRuntime, bundle: Bundle) -> None:
    assert "inside" not in runtime.output(bundle.script("ls / > /tmp/a 2>/dev/null; cd ..; pwd")).splitlines()[1:]
    assert runtime.output(bundle.script("stat -c %i / /.. | uniq | wc -l")) == "1\n"


@pytest.mark.parametrize(
    ("given", "seen", "unseen"),
    [
        (["ro"], {"ro"}, {"rw"}),
        (["nosuid", "nodev", "noexec"], {"rw", "nosuid", "nodev", "noexec"}, set()),
        (["suid", "dev", "exec"], {"rw"}, {"nosuid", "nodev", "noexec"}),
        (["noatime"], {"noatime"}, {"relatime"}),
        (["nodiratime"], {"nodiratime"}, set()),
        (["strictatime"], set(), {"relatime", "noatime"}),
        (["size=64k", "mode=700"], {"size=64k", "mode=700"}, set()),
        (["sync"], {"sync"}, set()),
        (["dirsync"], {"dirsync"}, set()),
    ],
)
def test_options_of_a_new_file_system(
    runtime: OciRuntime, bundle: Bundle, given: list[str], seen: set[str], unseen: set[str]
) -> None:
    options = mounted(runtime, bundle.mount("/mnt", type="tmpfs", source="tmpfs", options=given), "/mnt")
    assert seen <= options
    assert not unseen & options


@pytest.fixture
def volume(runtime: OciRuntime) -> Path:
    directory = runtime.directory / "volume"
    directory.mkdir()
    (directory / "file").write_text("of the host\n")
    return directory


def test_bind_mount_of_a_directory(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/made/on/the/way", type="bind", source=str(volume), options=["bind"])
    assert runtime.output(bundle.script("cat /made/on/the/way/file; echo new > /made/on/the/way/new")) == "of the host\n"
    assert (volume / "new").read_text() == "new\n"


def test_bind_mount_of_a_file(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/etc/made", type="bind", source=str(volume / "file"), options=["rbind"])
    assert runtime.output(bundle.runs("cat", "/etc/made")) == "of the host\n"


def test_bind_mount_by_option_alone(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/mnt", type="none", source=str(volume), options=["rbind", "ro"])
    assert "Read-only" in runtime.run(bundle.runs("touch", "/mnt/x"), status=1).err


def test_source_of_a_bind_mount_may_be_relative_to_the_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.path / "beside").mkdir()
    (bundle.path / "beside/file").write_text("near\n")
    bundle.mount("/mnt", type="bind", source="beside", options=["bind"])
    assert runtime.output(bundle.runs("cat", "/mnt/file")) == "near\n"


@pytest.mark.parametrize("flags", [["ro"], ["nosuid", "nodev", "noexec"], ["ro", "nosuid"], ["noatime"]])
def test_flags_of_a_bind_mount(runtime: OciRuntime, bundle: Bundle, volume: Path, flags: list[str]) -> None:
    bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", *flags])
    assert set(flags) <= mounted(runtime, bundle, "/mnt")


@contextmanager
def mounted_below(directory: Path) -> Iterator[Path]:
    """A tmpfs on the host that is mounted below a directory."""
    below = directory / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=True)
    try:
        (below / "deep").write_text("deep\n")
        yield below
    finally:
        subprocess.run(["umount", "-l", str(below)], check=True)


def test_rbind_takes_what_is_mounted_below_and_bind_does_not(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    with mounted_below(volume):
        bundle.mount("/with", type="bind", source=str(volume), options=["rbind"])
        bundle.mount("/without", type="bind", source=str(volume), options=["bind"])
        assert runtime.output(bundle.script("ls /with/below; ls /without/below")) == "deep\n"


def test_bind_read_only_leaves_what_is_mounted_below_writable(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    with mounted_below(volume) as below:
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", "ro"])
        runtime.run(bundle.runs("touch", "/mnt/below/new"))
        assert (below / "new").exists()


def test_recursive_read_only(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    with mounted_below(volume) as below:
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", "rro"])
        runtime.run(bundle.runs("touch", "/mnt/below/new"), status=1)
        assert not (below / "new").exists()


@pytest.mark.parametrize(("option", "mark"), [("rshared", "shared:"), ("rslave", "master:"), ("rprivate", "")])
def test_propagation_of_a_mount(runtime: OciRuntime, bundle: Bundle, volume: Path, option: str, mark: str) -> None:
    subprocess.run(["mount", "--bind", str(volume), str(volume)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(volume)], check=True)
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", option])
        bundle.linux["rootfsPropagation"] = "rslave" if option != "rshared" else "rshared"
        lines = runtime.output(bundle.runs("cat", "/proc/self/mountinfo")).splitlines()
    finally:
        subprocess.run(["umount", "-l", str(volume)], check=True)
    (row,) = [line.split() for line in lines if line.split()[4] == "/mnt"]
    tags = row[6 : row.index("-")]
    assert any(tag.startswith(mark) for tag in tags) if mark else tags == []


def test_mounts_do_not_reach_the_host(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)):
        assert str(bundle.rootfs) not in Path("/proc/self/mountinfo").read_text()


def test_mounts_come_in_their_order(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/mnt", type="tmpfs", source="tmpfs")
    bundle.mount("/mnt/inner", type="bind", source=str(volume), options=["bind"])
    assert runtime.output(bundle.script("ls /mnt; cat /mnt/inner/file")) == "inner\nof the host\n"


def test_tmpfs_keeps_the_mode_of_the_directory(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.rootfs / "var").chmod(0o1777)
    bundle.mount("/var", type="tmpfs", source="tmpfs")
    assert runtime.output(bundle.runs("stat", "-c", "%a", "/var")) == "1777\n"


def test_tmpcopyup_brings_the_files_along(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    assert "alice" in runtime.output(bundle.script("cat /etc/passwd; touch /etc/new"))
    assert not (bundle.rootfs / "etc/new").exists()


def test_file_systems_of_the_default_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    rows = [line.split() for line in runtime.output(bundle.runs("cat", "/proc/self/mounts")).splitlines()]
    kinds = {row[1]: row[2] for row in rows}
    expected = {
        "/proc": "proc",
        "/dev": "tmpfs",
        "/dev/pts": "devpts",
        "/dev/shm": "tmpfs",
        "/dev/mqueue": "mqueue",
        "/sys": "sysfs",
    }
    assert expected.items() <= kinds.items()
    assert "/sys/fs/cgroup" in kinds


def test_default_devices_and_links(runtime: OciRuntime, bundle: Bundle) -> None:
    script = "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' $d; done; " + (
        "for l in fd stdin stdout stderr ptmx core; do [ -L $l ] && echo $l $(readlink $l); done; ls"
    )
    lines = runtime.output(bundle.script(script)).splitlines()
    assert lines[:6] == [
        "null character special file 1:3 666",
        "zero character special file 1:5 666",
        "full character special file 1:7 666",
        "random character special file 1:8 666",
        "urandom character special file 1:9 666",
        "tty character special file 5:0 666",
    ]
    links = ["fd /proc/self/fd", "stdin /proc/self/fd/0", "stdout /proc/self/fd/1", "stderr /proc/self/fd/2", "ptmx pts/ptmx"]
    assert [line for line in lines[6:] if " " in line and not line.startswith("core ")] == links
    assert "console" not in lines


def test_devices_of_the_bundle(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": "/dev/twin", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7, "gid": 8},
        {"path": "/dev/below/fifo", "type": "p", "fileMode": 0o600},
    ]
    out = runtime.output(bundle.script("stat -c '%F %t:%T %a %u %g' /dev/twin; stat -c '%F %a' /dev/below/fifo"))
    assert out.splitlines() == ["character special file 1:3 640 7 8", "fifo 600"]


def test_device_rules_deny_what_they_do_not_allow(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["devices"] = [
        {"path": f"/dev/{name}", "type": "c", "major": 10, "minor": minor}
        for name, minor in (("kept-away", 229), ("let-in", 200))
    ]
    bundle.linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"})
    result = runtime.run(bundle.script("true < /dev/null && true < /dev/let-in && true < /dev/kept-away"), status=1)
    assert "kept-away: Operation not permitted" in result.err
    assert "let-in" not in result.err


def test_masked_paths_cannot_be_read(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret/file").write_text("secret")
    bundle.linux["maskedPaths"] += ["/secret", "/etc/group", "/not/there"]
    script = "cat /etc/group /proc/kcore /proc/keys; ls -A /secret /sys/firmware; touch /secret/x; echo x >> /etc/group"
    result = runtime.run(bundle.script(script), status=None)
    assert "secret" not in result.out.replace("/secret:", "")
    assert "root" not in result.out
    assert (bundle.rootfs / "etc/group").read_text().startswith("root")
    assert not (bundle.rootfs / "secret/x").exists()


def test_read_only_paths(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["readonly"] = False
    bundle.linux["readonlyPaths"] += ["/etc", "/not/there"]
    result = runtime.run(bundle.script("touch /var/x; touch /etc/x; echo 0 > /proc/sys/kernel/printk; cat /etc/passwd"))
    assert result.err.count("Read-only file system") == 2
    assert (bundle.rootfs / "var/x").exists()
    assert not (bundle.rootfs / "etc/x").exists()


def test_proc_is_of_the_own_pid_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    assert (
        runtime.output(bundle.script("readlink /proc/self/ns/pid; readlink /proc/1/ns/pid")).splitlines()[0].startswith("pid:[")
    )
    assert runtime.output(bundle.script("echo /proc/[0-9]*")) == "/proc/1\n"


def test_sysctl_of_a_namespace(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "12345"}
    assert runtime.output(bundle.runs("cat", "/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/shmmax")) == "1\n12345\n"


@pytest.mark.parametrize("name", ["vm.swappiness", "kernel.hostname", "kernel.core_pattern", "net/../vm.swappiness"])
def test_sysctl_of_the_host_is_refused(runtime: OciRuntime, bundle: Bundle, name: str) -> None:
    bundle.linux["sysctl"] = {name: "1"}
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())


def test_sysctl_of_a_namespace_that_is_shared_is_refused(runtime: OciRuntime, bundle: Bundle) -> None:
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    bundle.without_namespace("network").linux["sysctl"] = {"net.ipv4.ip_forward": "1"}
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before


@pytest.mark.parametrize(("given", "expected"), [("rprivate", ""), ("rslave", "master:")])
def test_propagation_of_the_root(runtime: OciRuntime, bundle: Bundle, given: str, expected: str) -> None:
    """A mount made on the host below the root file system arrives, or does not."""
    shared = runtime.directory / "shared"
    shared.mkdir()
    subprocess.run(["mount", "--bind", str(bundle.path), str(bundle.path)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(bundle.path)], check=True)
        bundle.linux["rootfsPropagation"] = given
        lines = runtime.output(bundle.runs("cat", "/proc/self/mountinfo")).splitlines()
    finally:
        subprocess.run(["umount", "-l", str(bundle.path)], check=True)
    (row,) = [line.split() for line in lines if line.split()[4] == "/"]
    tags = row[6 : row.index("-")]
    assert any(tag.startswith(expected) for tag in tags) if expected else tags == []


def test_host_null_device_is_left_alone(runtime: OciRuntime, bundle: Bundle) -> None:
    before = os.stat("/dev/null")
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    runtime.run(bundle.runs("true"), stdin=subprocess.DEVNULL)
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, stat.S_IMODE(after.st_mode)) == (
        before.st_uid,
        before.st_gid,
        stat.S_IMODE(before.st_mode),
    )
