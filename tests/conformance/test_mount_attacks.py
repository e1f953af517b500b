"""Attacks on the places of mounts, masks, devices and the console: images with links, and attackers who exchange names while containers start.

Canaries outside stay as they are; whatever starts has its mounts inside and its masks where they belong. Each race comes with a look-alike: the
same exchange of names that lead nowhere else must not keep containers from starting.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.programs import Result
from tests.support.runtime import Bundle, OciRuntime, fingerprint
from tests.support.swapping import swapping

STARTS = int(os.environ.get("CRATE_TEST_STARTS", "30"))
"""Of each race; security work takes more."""
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture
def canary(runtime: OciRuntime) -> Iterator[Path]:
    """Not to be changed, covered or filled; nor are the host's own settings."""
    path = runtime.directory / "canary"
    (path / "dir/below").mkdir(parents=True)
    for name in ("file", "ptmx", "null", "console", "fd", "stdin", "dir/file"):
        (path / name).write_text(f"canary {name}\n")
    before, mounts, pattern = fingerprint(path), Path("/proc/self/mountinfo").read_text(), CORE_PATTERN.read_text()
    devices = hashlib.sha256("\n".join(sorted(os.listdir("/dev"))).encode()).hexdigest()
    yield path
    found = CORE_PATTERN.read_text()
    if found != pattern:
        CORE_PATTERN.write_text(pattern)
    assert found == pattern
    assert fingerprint(path) == before
    assert Path("/proc/self/mountinfo").read_text() == mounts
    assert hashlib.sha256("\n".join(sorted(os.listdir("/dev"))).encode()).hexdigest() == devices


def up(path: Path) -> str:
    """A link that climbs as far as there is, and down to `path`."""
    return "../" * 40 + str(path).lstrip("/")


def replace(place: Path, kind: str, canary: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "socket":
        os.mknod(place, stat.S_IFSOCK | 0o666)
    elif kind == "device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif kind == "hard link":
        os.link(canary / "file", place)
    else:
        links = {
            "absolute": str(canary / "dir"),
            "climbing": up(canary / "dir"),
            "self root": f"/proc/self/root{canary}/dir",
            "first cwd": f"/proc/1/cwd/{up(canary / 'dir')}",
            "loop": place.name,
            "dangling": "/nowhere/at/all",
        }
        place.symlink_to(links[kind])


KINDS = ["absolute", "climbing", "self root", "first cwd", "loop", "dangling", "fifo", "socket", "device", "hard link"]


def refused_or(result: Result, out: str) -> None:
    """A clear word, or the right outcome; never a traceback."""
    assert "Traceback" not in result.err
    assert result.out == out if result.status == 0 else result.err


# --- destinations and what is made in /dev (A2-1, A2-3, A2-5, A2-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("destination", ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"])
def test_destination_of_the_default_mounts_is_replaced(
    runtime: OciRuntime, bundle: Bundle, canary: Path, destination: str, kind: str
) -> None:
    if runtime.name == "runc":
        pytest.skip("a runtime that is safe here: this runc is compared in test_security.py")
    if destination.startswith("/dev/"):
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["destination"] != "/dev"]
    if destination.startswith("/sys/"):
        bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["destination"] != "/sys"]
    bundle.config["root"]["readonly"] = False
    replace(bundle.rootfs / destination[1:], kind, canary)
    refused_or(runtime.run(bundle.script("echo inside"), status=None, timeout=20), "inside\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["null", "ptmx", "fd", "stdin", "console"])
def test_files_in_dev_are_replaced(runtime: OciRuntime, bundle: Bundle, canary: Path, name: str, kind: str) -> None:
    """There is no tmpfs over /dev: what the image has there meets what the runtime makes."""
    if runtime.name == "runc":
        pytest.skip("a runtime that is safe here: this runc follows links of the image in /dev")
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    replace(bundle.rootfs / "dev" / name, kind, canary)
    refused_or(runtime.run(bundle.script("echo inside"), status=None, timeout=20), "inside\n")


def test_proc_behind_a_long_chain_of_links(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").symlink_to("l0")
    for index in range(41):
        (bundle.rootfs / f"l{index}").symlink_to(f"l{index + 1}")
    (bundle.rootfs / "l41").mkdir()
    assert canary.exists()
    runtime.fails("create", "--bundle", str(bundle.runs("true").write()), runtime.identity())


def test_links_of_an_image_that_stay_inside(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """The look-alike of all of the above: /var/run, /dev/shm and /bin are links in many images."""
    bundle.config["root"]["readonly"] = False
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if mount["destination"] != "/dev"]
    (bundle.rootfs / "var/run").symlink_to("/run")
    (bundle.rootfs / "run/shm").mkdir()
    (bundle.rootfs / "dev/shm").symlink_to("/run/shm")
    bundle.mount("/var/run/made", type="tmpfs", source="tmpfs", options=["size=8k"])
    out = runtime.output(bundle.script("grep -E ' (/run/made|/run/shm) ' /proc/mounts | cut -d' ' -f2; test -c /dev/null"))
    assert sorted(out.split()) == ["/run/made", "/run/shm"]
    assert canary.exists()


@pytest.mark.parametrize(("mode", "umask"), [(0o2755, "022"), (0o755, "077"), (0o2700, "077")])
def test_directories_are_made_below_any_parent(runtime: OciRuntime, bundle: Bundle, mode: int, umask: str) -> None:
    """Whatever is inherited (A2-4: a check of modes once failed for parents with the set-group-id bit)."""
    bundle.rootfs.chmod(mode)
    bundle.mount("/new/deep/place", type="tmpfs", source="tmpfs", options=["size=8k"])
    command = runtime.command("run", "--bundle", str(bundle.script("ls -d /new/deep/place").write()), runtime.identity())
    result = runtime.account.run(["sh", "-c", f'umask {umask}; exec "$@"', "sh", *command])
    assert result.out == "/new/deep/place\n"


# --- races (A2-1, A2-2, A2-4, A2-6)


def starts(runtime: OciRuntime, bundle: Bundle) -> Iterator[Result]:
    bundle.write()
    for _ in range(STARTS):
        yield runtime.run(bundle, status=None, timeout=30)


@pytest.fixture
def volume(runtime: OciRuntime) -> Path:
    directory = runtime.directory / "volume"
    (directory / "real/b").mkdir(parents=True)
    return directory


INSIDE = "cut -d' ' -f5,9- /proc/self/mountinfo | grep '^/vol' ; echo end"


def test_mounts_on_a_volume_whose_names_are_exchanged(runtime: OciRuntime, bundle: Bundle, canary: Path, volume: Path) -> None:
    """CVE-2021-30465: `a` is now a directory, now a link to the host's canary."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    (volume / "a").symlink_to(up(canary))
    (canary / "b").mkdir()
    (volume / "real").rename(volume / "other")
    try:
        bundle.mount("/vol", type="bind", source=str(volume), options=["rbind"])
        bundle.mount("/vol/a/b", type="tmpfs", source="tmpfs", options=["size=8k"])
        bundle.mount("/vol/a/new/deep", type="tmpfs", source="tmpfs", options=["size=8k"])
        with swapping(volume / "a", volume / "other"):
            results = list(starts(runtime, bundle.script(INSIDE)))
        for result in results:
            assert "Traceback" not in result.err
            assert result.out.endswith("end\n") if result.status == 0 else result.err
        assert {path.name for path in canary.iterdir()} == {"b", "dir", "file", "ptmx", "null", "console", "fd", "stdin"}
    finally:
        (canary / "b").rmdir()


def test_exchange_of_names_that_stay_inside_does_no_harm(runtime: OciRuntime, bundle: Bundle, canary: Path, volume: Path) -> None:
    """The look-alike: both names lead inside, and every start succeeds."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    (volume / "a/b").mkdir(parents=True)
    bundle.mount("/vol", type="bind", source=str(volume), options=["rbind"])
    bundle.mount("/vol/a/b", type="tmpfs", source="tmpfs", options=["size=8k"])
    with swapping(volume / "a", volume / "real"):
        results = list(starts(runtime, bundle.script("grep -c ' /vol/' /proc/self/mountinfo")))
    assert {(result.status, result.out) for result in results} == {(0, "1\n")}
    assert canary.exists()


MASKED = (
    "head -c 20 /proc/kcore; cat /proc/keys; ls -A /proc/acpi /sys/firmware; echo x > /proc/sys/kernel/core_pattern; echo end"
)


PROCFS = (
    "for d in /proc /elsewhere; do [ -d $d/sys/kernel ] && cat $d/keys && echo x > $d/sys/kernel/core_pattern; done; echo end"
)


def test_proc_whose_name_is_exchanged(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """CVE-2019-19921 as a race: a root file system that others can write to. Under whichever name it ends, procfs is masked, or nothing starts."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    (bundle.rootfs / "level1/level2").mkdir(parents=True)
    (bundle.rootfs / "elsewhere").symlink_to("level1")
    with swapping(bundle.rootfs / "proc", bundle.rootfs / "elsewhere"):
        for result in starts(runtime, bundle.script(PROCFS)):
            refused_or(result, "end\n")
    assert canary.exists()


def test_null_device_whose_name_is_exchanged(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """CVE-2025-31133: `/dev/null` of the image is now the device, now a link to a file that must not be bound over a masked one."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    os.mknod(bundle.rootfs / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (bundle.rootfs / "dev/other").symlink_to("/proc/sys/kernel/core_pattern")
    (bundle.rootfs / "secret").write_text("secret\n")
    bundle.linux["maskedPaths"] = ["/secret", "/proc/sysrq-trigger"]
    with swapping(bundle.rootfs / "dev/null", bundle.rootfs / "dev/other"):
        for result in starts(runtime, bundle.script("cat /secret; stat -c %t:%T /secret; echo '|/x' > /secret; echo end")):
            if result.status == 0:
                assert result.out == "1:3\nend\n", result
    assert (bundle.rootfs / "secret").read_text() == "secret\n"
    assert canary.exists()


def test_dev_whose_name_is_exchanged(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """CVE-2026-41579: devices, links and ptmx are made in it."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    bundle.config["mounts"] = [mount for mount in bundle.config["mounts"] if not mount["destination"].startswith("/dev")]
    bundle.config["root"]["readonly"] = False
    (bundle.rootfs / "other").symlink_to(up(canary))
    with swapping(bundle.rootfs / "dev", bundle.rootfs / "other"):
        for result in starts(runtime, bundle.script("echo end")):
            refused_or(result, "end\n")


def test_places_in_dev_whose_names_are_exchanged(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """CVE-2025-52565: /dev/pts/0 and /dev/console while the terminal is set up, by one who shares the directory."""
    if runtime.name == "runc":
        pytest.skip("a race: it is run for the runtime under test alone")
    shared = runtime.directory / "shared-dev"
    (shared / "pts").mkdir(parents=True)
    (shared / "console").write_text("")
    (shared / "console2").symlink_to(up(canary / "console"))
    (shared / "pts2").symlink_to(up(canary / "dir"))
    bundle.config["mounts"] = [
        {"destination": "/dev2", "type": "bind", "source": str(shared), "options": ["rbind"]}
        if mount["destination"] == "/dev"
        else mount
        for mount in bundle.config["mounts"]
    ]
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to("dev2")
    bundle.process["terminal"] = True
    with ExitStack() as stack:
        stack.enter_context(swapping(shared / "console", shared / "console2"))
        stack.enter_context(swapping(shared / "pts", shared / "pts2"))
        for result in starts(runtime, bundle.script("echo end")):
            assert "Traceback" not in result.err


def test_console_is_the_terminal(runtime: OciRuntime, bundle: Bundle, canary: Path) -> None:
    """The look-alike: an image has a file or a link in the place of the console."""
    if runtime.name == "runc":
        pytest.skip("a runtime that opens a terminal for itself: this runc opens the caller's /dev/tty")
    (bundle.rootfs / "dev/console").write_text("of the image\n")
    (bundle.rootfs / "dev/ptmx").write_text("of the image\n")
    bundle.process["terminal"] = True
    out = runtime.output(bundle.script("stat -f -c %T /dev/console; stat -c %F /dev/console"))
    assert out.split("\n")[0].strip() in ("devpts", "UNKNOWN")
    assert "character special file" in out
    assert canary.exists()
