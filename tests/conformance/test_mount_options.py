"""Options of mounts that few containers use, and what is made, refused or replaced at their destinations."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.runtime import Bundle, OciRuntime


def rows_of(text: str) -> dict[str, set[str]]:
    """Destination and options of each mount of /proc/self/mounts; the last at a place counts."""
    return {row[1]: set(row[3].split(",")) for row in (line.split() for line in text.splitlines())}


def mounts(runtime: OciRuntime, bundle: Bundle) -> dict[str, set[str]]:
    return rows_of(runtime.output(bundle.runs("cat", "/proc/self/mounts")))


@pytest.fixture
def volume(runtime: OciRuntime) -> Path:
    directory = runtime.directory / "volume"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_text("of the host\n")
    return directory


@contextmanager
def tmpfs_on(directory: Path, options: str = "size=4k") -> Iterator[Path]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


RECURSIVE = [
    ("rro", "ro"),
    ("rnosuid", "nosuid"),
    ("rnodev", "nodev"),
    ("rnoexec", "noexec"),
    ("rnoatime", "noatime"),
    ("rnodiratime", "nodiratime"),
    ("rnosymfollow", "nosymfollow"),
]


@pytest.mark.parametrize(("option", "seen"), RECURSIVE)
def test_recursive_option_holds_for_what_is_mounted_below(
    runtime: OciRuntime, bundle: Bundle, volume: Path, option: str, seen: str
) -> None:
    if runtime.name == "runc" and option == "rnosymfollow":
        pytest.skip("a runtime that knows rnosymfollow: this runc came before it")
    with tmpfs_on(volume / "below"):
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", option])
        found = mounts(runtime, bundle)
    assert seen in found["/mnt"]
    assert seen in found["/mnt/below"]


CLEARING = [("rrw", "ro"), ("rsuid", "nosuid"), ("rdev", "nodev"), ("rexec", "noexec"), ("ratime", "noatime")]


@pytest.mark.parametrize(("option", "gone"), CLEARING)
def test_recursive_option_takes_a_restriction_away(
    runtime: OciRuntime, bundle: Bundle, volume: Path, option: str, gone: str
) -> None:
    if runtime.name == "runc" and option == "ratime":
        pytest.skip("a runtime that can take noatime away: this runc asks the kernel for what it refuses")
    with tmpfs_on(volume / "below", gone):
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", option])
        assert gone not in mounts(runtime, bundle)["/mnt/below"] or gone == "ro"


def test_option_that_is_not_recursive_leaves_what_is_mounted_below(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    """The look-alike."""
    with tmpfs_on(volume / "below"):
        bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", "ro", "noexec"])
        found = mounts(runtime, bundle)
    assert {"ro", "noexec"} <= found["/mnt"]
    assert not {"ro", "noexec"} & found["/mnt/below"]


def test_the_later_of_two_words_counts(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/a", type="bind", source=str(volume), options=["rbind", "ro", "rw", "nodev"])
    bundle.mount("/b", type="bind", source=str(volume), options=["rbind", "rw", "ro"])
    found = mounts(runtime, bundle)
    assert {"rw", "nodev"} <= found["/a"]
    assert "ro" in found["/b"]


def test_restrictions_of_the_source_stay_where_no_word_names_them(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    with tmpfs_on(volume / "below", "nosuid,nodev,noexec"):
        bundle.mount("/mnt", type="bind", source=str(volume / "below"), options=["rbind", "nosuid"])
        found = mounts(runtime, bundle)["/mnt"]
    if runtime.name == "runc":
        pytest.skip("a runtime that keeps the restrictions of a source: this runc clears those it does not name")
    assert {"nosuid", "nodev", "noexec"} <= found


def test_remount_changes_a_mount_that_is_there(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.config["mounts"] += [
        {"destination": "/mnt", "type": "bind", "source": str(volume), "options": ["bind"]},
        {"destination": "/mnt", "type": "bind", "source": str(volume), "options": ["bind", "remount", "ro", "nosuid"]},
    ]
    result = runtime.run(bundle.script("grep -c ' /mnt ' /proc/self/mounts; touch /mnt/x"), status=1)
    assert "Read-only file system" in result.err
    if runtime.name != "runc":  # mounts it a second time
        assert result.out == "1\n"


def test_remount_of_a_file_system(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["mounts"] += [
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k"]},
        {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "size=32k", "nosuid"]},
    ]
    assert "size=32k" in mounts(runtime, bundle)["/mnt"]


def test_remount_of_no_mount_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["mounts"].append({"destination": "/home", "type": "tmpfs", "source": "tmpfs", "options": ["remount", "ro"]})
    assert "/home" in runtime.run(bundle.runs("true"), status=1).err


@pytest.mark.parametrize("option", ["bogus", "size=many"])
def test_word_that_the_file_system_does_not_know_is_an_error(runtime: OciRuntime, bundle: Bundle, option: str) -> None:
    bundle.mount("/mnt", type="tmpfs", source="tmpfs", options=[option])
    assert "/mnt" in runtime.run(bundle.runs("true"), status=1).err


def test_file_system_option_of_a_bind_mount_is_an_error(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    """The kernel would ignore it."""
    if runtime.name == "runc":
        pytest.skip("a runtime that refuses options which a bind mount cannot have: this runc ignores them, 1.2 does not")
    bundle.mount("/mnt", type="bind", source=str(volume), options=["bind", "uid=5"])
    result = runtime.run(bundle.runs("true"), status=1)
    assert "bind mounts cannot have any filesystem-specific options applied" in result.err


def test_unknown_file_system_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.mount("/mnt", type="nosuchfs", source="none")
    assert "no such device" in runtime.run(bundle.runs("true"), status=1).err


# --- destinations


def test_missing_source_is_named_in_the_words_callers_know(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.mount("/mnt", type="bind", source="/no/such/place", options=["bind"])
    err = runtime.run(bundle.runs("true"), status=1).err
    assert "stat /no/such/place: no such file or directory" in err
    assert 'error mounting "/no/such/place" to rootfs at "/mnt"' in err.replace("\\", "") or runtime.name == "runc"


def test_missing_destinations_are_made_as_what_is_mounted(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/made/a/file", type="bind", source=str(volume / "file"), options=["bind"])
    bundle.mount("/made/a/directory", type="bind", source=str(volume), options=["bind"])
    assert runtime.output(bundle.script("cat /made/a/file; ls /made/a/directory")) == "of the host\nbelow\nfile\n"
    assert (bundle.rootfs / "made/a/file").is_file()
    assert (bundle.rootfs / "made/a/directory").is_dir()
    assert (bundle.rootfs / "made").stat().st_mode & 0o777 == 0o755


def test_relative_destination_starts_at_the_root(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.process["cwd"] = "/usr"
    bundle.mount("mnt/relative", type="bind", source=str(volume), options=["bind"])
    assert runtime.output(bundle.runs("cat", "/mnt/relative/file")) == "of the host\n"


def test_mount_over_a_file(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.mount("/etc/passwd", type="bind", source=str(volume / "file"), options=["bind", "ro"])
    assert runtime.output(bundle.runs("cat", "/etc/passwd")) == "of the host\n"
    assert "alice" in (bundle.rootfs / "etc/passwd").read_text()


@pytest.mark.parametrize(("source", "destination"), [("file", "/home"), ("below", "/etc/passwd")])
def test_file_on_a_directory_and_the_other_way_round(
    runtime: OciRuntime, bundle: Bundle, volume: Path, source: str, destination: str
) -> None:
    bundle.mount(destination, type="bind", source=str(volume / source), options=["bind"])
    assert "not a directory" in runtime.run(bundle.runs("true"), status=1).err


@pytest.mark.parametrize("destination", ["/proc/sys", "/proc/self/attr", "/proc/../proc/fs", "proc/net"])
@pytest.mark.parametrize("kind", ["bind", "overlay"])
def test_nothing_is_mounted_inside_proc(runtime: OciRuntime, bundle: Bundle, volume: Path, destination: str, kind: str) -> None:
    """A faked /proc/self/attr would keep a profile from being applied (CVE-2019-16884)."""
    options = ["bind"] if kind == "bind" else [f"lowerdir={volume}:{volume / 'below'}"]
    bundle.mount(destination, type=kind, source=str(volume), options=options)
    assert "cannot be mounted because it is inside /proc" in runtime.run(bundle.runs("true"), status=1).err


def test_files_of_proc_that_are_made_up_elsewhere_can_be_mounted(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    """The look-alike, as lxcfs does it."""
    for name in ("cpuinfo", "meminfo", "uptime"):
        bundle.mount(f"/proc/{name}", type="bind", source=str(volume / "file"), options=["bind"])
    assert runtime.output(bundle.runs("cat", "/proc/cpuinfo", "/proc/meminfo", "/proc/uptime")) == "of the host\n" * 3


def test_link_into_proc_does_not_help(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    (bundle.rootfs / "way").symlink_to("proc/sys")
    bundle.mount("/way", type="bind", source=str(volume), options=["bind"])
    assert "cannot be mounted because it is inside /proc" in runtime.run(bundle.runs("true"), status=1).err


@pytest.mark.parametrize("propagation", ["unbindable", "runbindable"])
def test_root_that_is_unbindable(runtime: OciRuntime, bundle: Bundle, propagation: str) -> None:
    if runtime.name == "runc":
        pytest.skip("a runtime that can make the root unbindable: this runc then fails to bind it")
    bundle.linux["rootfsPropagation"] = propagation
    lines = runtime.output(bundle.runs("cat", "/proc/self/mountinfo")).splitlines()
    fields = {line.split()[4]: line.split(" - ")[0].split()[6:] for line in lines}
    assert fields["/"] == ["unbindable"]
    assert (fields["/dev"] == ["unbindable"]) is (propagation == "runbindable")


def test_root_that_is_shared_does_not_show_its_mounts_on_the_host(runtime: OciRuntime, bundle: Bundle, volume: Path) -> None:
    bundle.linux["rootfsPropagation"] = "rshared"
    bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind"])
    with tmpfs_on(bundle.path.parent / "volume/below"):
        before = Path("/proc/self/mountinfo").read_text()
        identity = runtime.start(bundle.runs("/bin/sleep", "1000"))
        assert Path("/proc/self/mountinfo").read_text() == before
        rows = [line.split() for line in runtime.exec(identity, "cat", "/proc/self/mountinfo").out.splitlines()]
        tags = next(row[6 : row.index("-")] for row in rows if row[4] == "/")
        assert any(tag.startswith("shared:") for tag in tags) or runtime.name == "runc"  # which leaves it private
        runtime.call("delete", "--force", identity)


# --- tmpfs


def test_tmpcopyup_keeps_modes_owners_and_links(runtime: OciRuntime, bundle: Bundle) -> None:
    place = bundle.rootfs / "var/data"
    (place / "deep").mkdir(parents=True)
    (place / "deep/file").write_text("x" * 100_000)
    os.chown(place / "deep", 7, 8)
    (place / "deep").chmod(0o751)
    os.chown(place / "deep/file", 9, 10)
    (place / "deep/file").chmod(0o4711)
    (place / "link").symlink_to("../nowhere")
    bundle.mount("/var/data", type="tmpfs", source="tmpfs", options=["tmpcopyup", "size=1m"])
    script = "cd /var/data; stat -c '%a %u %g %s' deep/file; stat -c '%a %u %g' deep; readlink link; rm link; ls -A"
    assert runtime.output(bundle.script(script)).split("\n") == ["4711 9 10 100000", "751 7 8", "../nowhere", "deep", ""]
    assert (place / "link").is_symlink()


def test_tmpcopyup_of_more_than_the_size_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.rootfs / "var/large").write_bytes(b"x" * 100_000)
    bundle.mount("/var", type="tmpfs", source="tmpfs", options=["tmpcopyup", "size=16k"])
    assert "no space left on device" in runtime.run(bundle.runs("true"), status=1).err


def test_tmpcopyup_of_a_directory_that_is_missing(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.mount("/none/here", type="tmpfs", source="tmpfs", options=["tmpcopyup"])
    assert runtime.output(bundle.script("touch /none/here/x; ls /none/here")) == "x\n"


def test_read_only_tmpfs_has_what_was_copied(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup", "ro"])
    result = runtime.run(bundle.script("grep -c alice /etc/passwd; touch /etc/x"), status=1)
    assert result.out == "1\n"
    assert "Read-only file system" in result.err


# --- devices


def test_dev_of_the_host(runtime: OciRuntime, bundle: Bundle) -> None:
    """Nothing is made in it."""
    before = sorted(os.listdir("/dev"))
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.mount("/dev", type="bind", source="/dev", options=["rbind", "rslave"])
    bundle.linux["devices"] = [{"path": "/dev/crate-test-none", "type": "c", "major": 1, "minor": 3}]
    runtime.run(bundle.script("test -c /dev/null"))
    assert sorted(os.listdir("/dev")) == before


def test_device_that_is_there_already(runtime: OciRuntime, bundle: Bundle) -> None:
    os.mknod(bundle.rootfs / "home/null", 0o600 | 0o020000, os.makedev(1, 3))
    bundle.linux["devices"] = [{"path": "/home/null", "type": "c", "major": 1, "minor": 3}]
    assert runtime.output(bundle.script("stat -c %t:%T /home/null")) == "1:3\n"


def test_something_else_in_the_place_of_a_device_is_an_error(runtime: OciRuntime, bundle: Bundle) -> None:
    """runtime-spec: a file that does not match the requested device."""
    if runtime.name == "runc":
        pytest.skip("a runtime that looks at what is there: this runc takes anything for the device")
    (bundle.rootfs / "home/null").write_text("")
    bundle.linux["devices"] = [{"path": "/home/null", "type": "c", "major": 1, "minor": 3}]
    assert "make device /home/null: something else is there already" in runtime.run(bundle.runs("true"), status=1).err


@pytest.mark.parametrize(("kind", "seen"), [("u", "character special file"), ("c", "character special file"), ("p", "fifo")])
def test_kinds_of_devices(runtime: OciRuntime, bundle: Bundle, kind: str, seen: str) -> None:
    bundle.linux["devices"] = [{"path": "/dev/made", "type": kind, "major": 1, "minor": 3, "fileMode": 0o0604}]
    assert runtime.output(bundle.runs("stat", "-c", "%F %a", "/dev/made")) == f"{seen} 604\n"


def test_read_only_dev_has_its_devices(runtime: OciRuntime, bundle: Bundle) -> None:
    for mount in bundle.config["mounts"]:
        if mount["destination"] == "/dev":
            mount["options"].append("ro")
    result = runtime.run(bundle.script("echo x > /dev/null; touch /dev/x"), status=1)
    assert "/dev/x: Read-only file system" in result.err
    assert "null" not in result.err
