"""Kernels and seccomp filters that lack system calls: each start ends as on any other kernel, or with one line that names the call.

ENOSYS is what an old kernel says, EPERM what old seccomp filters of container engines say.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import lacking, rootfs
from tests.support.leaks import Census
from tests.support.programs import Account
from tests.support.runtime import Bundle, OciRuntime, new_bundle
from tests.support.workspace import workspace

MOUNT_CALLS = ("open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "mount_setattr")
REPLACED = {
    "openat2": ("openat2",),
    "the mount calls": MOUNT_CALLS,
    "mount_setattr": ("mount_setattr",),  # Linux 5.2 to 5.11
    "move_mount": ("move_mount",),
    "fsopen": ("fsopen",),
    "all of these": ("openat2", *MOUNT_CALLS),
    "clone3": ("clone3",),
    "faccessat2": ("faccessat2",),
}
"""What there is another way for."""
NEEDED = ("memfd_create", "execveat", "statx", "close_range", "pidfd_open", "pidfd_send_signal")
"""What there is another way for, or a word about."""
ERRNOS = (errno.ENOSYS, errno.EPERM)
SLEEP = ("/bin/sleep", "1000")


class Lacking(OciRuntime):
    """crate-runc where `calls` fail with `number`."""

    calls: tuple[str, ...] = ()
    number = errno.ENOSYS
    python = sys.executable

    def command(self, *arguments: str) -> list[str]:
        command = super().command(*arguments)
        if not self.calls:
            return command
        return [self.python, lacking.__file__, str(self.number), ",".join(self.calls), *command]

    def lacks(self, calls: tuple[str, ...], number: int) -> Lacking:
        self.calls, self.number = calls, number
        return self


@pytest.fixture
def runtime(account: Account, bin_directory: Path, base: Path, census: Census) -> Iterator[Lacking]:
    with workspace(base) as directory:
        os.chown(directory, account.uid, account.gid)
        directory.chmod(0o755)
        made = Lacking("crate-runc", str(bin_directory / "crate-runc"), account, directory)
        made.root.mkdir(mode=0o711)
        os.chown(made.root, account.uid, account.gid)
        census.watch.add(made.root)
        yield made
        made.calls = ()
        made.clean()


@pytest.fixture
def bundle(runtime: Lacking) -> Bundle:
    return new_bundle(runtime.directory / "bundle", runtime.account)


def mounts_of(text: str) -> list[str]:
    """/proc/self/mounts without its order: a kernel lists them by the age of their numbers."""
    return sorted(text.splitlines())


def with_everything(runtime: Lacking, bundle: Bundle) -> Bundle:
    """Mounts of all kinds, below a directory and over a file, masks and read-only paths; what is attached to what is in the script's output."""
    volume = runtime.directory / "volume"
    volume.mkdir()
    (volume / "file").write_text("of the host\n")
    bundle.mount("/mnt/deep", type="bind", source=str(volume), options=["rbind", "rro", "nosuid", "noexec"])
    bundle.mount("/etc/made", type="bind", source=str(volume / "file"), options=["bind", "ro"])
    bundle.mount("/var", type="tmpfs", source="tmpfs", options=["tmpcopyup", "size=64k", "ro"])
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret/file").write_text("secret")
    (bundle.rootfs / "hidden").write_text("secret")
    bundle.linux["maskedPaths"] += ["/secret", "/hidden"]
    bundle.linux["readonlyPaths"] += ["/home"]
    (bundle.rootfs / "link").symlink_to("../../mnt/deep")
    if runtime.account.rootless:
        for path in bundle.rootfs.rglob("*"):
            os.chown(path, runtime.account.uid, runtime.account.gid, follow_symlinks=False)
    return bundle.script(
        "cat /proc/self/mounts; cat /etc/made /link/file /hidden; ls -A /secret; ls -l /dev | cut -c1-10;"
        "for f in /var/x /mnt/deep/x /home/x /x /secret/x; do touch $f 2>/dev/null && echo wrote $f; done; true"
    )


@pytest.mark.parametrize("number", ERRNOS, ids=[errno.errorcode[number] for number in ERRNOS])
@pytest.mark.parametrize("missing", REPLACED)
def test_container_is_the_same_without(runtime: Lacking, bundle: Bundle, missing: str, number: int) -> None:
    with_everything(runtime, bundle)
    expected = runtime.output(bundle)
    assert "of the host" in expected
    assert "secret\n" not in expected
    assert "wrote" not in expected
    assert mounts_of(runtime.lacks(REPLACED[missing], number).output(bundle)) == mounts_of(expected)


@pytest.mark.parametrize("number", ERRNOS, ids=[errno.errorcode[number] for number in ERRNOS])
@pytest.mark.parametrize("missing", REPLACED)
def test_life_of_a_container_without(runtime: Lacking, bundle: Bundle, missing: str, number: int) -> None:
    runtime.lacks(REPLACED[missing], number)
    identity = runtime.create(bundle.runs(*SLEEP))
    assert runtime.status(identity) == "created"
    runtime.call("start", identity)
    assert runtime.exec(identity, "sh", "-c", "echo inside; cat /proc/1/comm").out == "inside\nsleep\n"
    runtime.call("kill", identity, "KILL")
    runtime.wait_stopped(identity)
    runtime.call("delete", identity)
    assert list(runtime.root.iterdir()) == []


@pytest.mark.parametrize("missing", REPLACED)
def test_errors_are_the_same_without(runtime: Lacking, bundle: Bundle, missing: str) -> None:
    bundle.mount("/mnt", type="bind", source="/no/such/place", options=["rbind"])
    expected = runtime.run(bundle.runs("true"), status=1).err.partition("msg=")[2]
    assert "stat /no/such/place: no such file or directory" in expected
    without = runtime.lacks(REPLACED[missing], errno.ENOSYS).run(bundle, status=1).err.partition("msg=")[2]
    assert without == expected


@pytest.mark.parametrize("number", ERRNOS, ids=[errno.errorcode[number] for number in ERRNOS])
@pytest.mark.parametrize("call", NEEDED)
def test_call_is_replaced_or_named(runtime: Lacking, bundle: Bundle, call: str, number: int) -> None:
    runtime.lacks((call,), number)
    result = runtime.run(bundle.script("echo inside"), status=None)
    if result.status == 0:
        assert result.out == "inside\n"
    elif number == errno.ENOSYS:
        assert call in result.err
    assert len(result.err.splitlines()) <= 1
    runtime.calls = ()
    assert list(runtime.root.iterdir()) == []


@pytest.mark.parametrize("call", [call for call in NEEDED if call != "statx"])  # without it no program is found, it says
def test_call_of_exec_is_replaced_or_named(runtime: Lacking, bundle: Bundle, call: str) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        runtime.lacks((call,), errno.ENOSYS)
        result = runtime.exec(identity, "echo", "inside", status=None)
        runtime.calls = ()
        assert result.out == "inside\n" if result.status == 0 else call in result.err


def test_idmapped_mount_without_its_call_is_an_error_that_names_it(runtime: Lacking, bundle: Bundle) -> None:
    """There is no other way, and to mount without the mapping would be wrong."""
    volume = runtime.directory / "volume"
    volume.mkdir()
    mapping = [{"containerID": 0, "hostID": 7, "size": 1}]
    bundle.mount("/mnt", type="bind", source=str(volume), options=["bind"], uidMappings=mapping, gidMappings=mapping)
    result = runtime.lacks(("mount_setattr",), errno.ENOSYS).run(bundle.runs("true"), status=1)
    assert "an idmapped mount needs the rights and the calls of mount_setattr(2), Linux 5.12" in result.err


@pytest.mark.parametrize("number", ERRNOS, ids=[errno.errorcode[number] for number in ERRNOS])
@pytest.mark.parametrize("missing", ["openat2", "fsopen", "all of these"])
def test_what_is_written_to_procfs_is_written_without(runtime: Lacking, bundle: Bundle, missing: str, number: int) -> None:
    """Sysctls and the offsets of clocks."""
    bundle.namespace("time").linux.update(timeOffsets={"boottime": {"secs": 1234}}, sysctl={"kernel.shmmax": "12345"})
    runtime.lacks(REPLACED[missing], number)
    text = runtime.output(bundle.script("cat /proc/sys/kernel/shmmax; tail -n 1 /proc/self/timens_offsets"))
    assert text.split() == ["12345", "boottime", "1234", "0"]


@pytest.mark.parametrize("missing", ["the mount calls", "mount_setattr", "move_mount"])
def test_recursive_options_hold_without(runtime: Lacking, bundle: Bundle, missing: str) -> None:
    """Each mount below is found and changed for itself; names with spaces are written in another way by the kernel."""
    if runtime.account.rootless:
        pytest.skip("root: an ordinary user mounts nothing on the host")
    volume = runtime.directory / "volume"
    places = [volume / "a b", volume / "a b/deep", volume / "other"]
    bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", "rro", "rnosuid"])
    bundle.linux["readonlyPaths"].append("/mnt2")
    bundle.mount("/mnt2", type="bind", source=str(volume), options=["rbind"])
    with ExitStack() as stack:
        for place in places:
            place.mkdir(parents=True)
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place)], check=True)
            stack.callback(subprocess.run, ["umount", "-l", str(place)], check=True)
        touch = "for d in mnt mnt2; do for p in . 'a b' 'a b/deep' other; do touch \"/$d/$p/x\" && echo wrote $d/$p; done; done 2>/dev/null"
        script = f"{touch}; grep -c nosuid /proc/self/mounts"
        expected = runtime.output(bundle.script(script))
        assert "wrote" not in expected
        assert runtime.lacks(REPLACED[missing], errno.ENOSYS).output(bundle) == expected


@pytest.mark.parametrize("missing", ["the mount calls", "mount_setattr", "move_mount", "all of these"])
def test_user_namespace_made_by_root_without(runtime: Lacking, bundle: Bundle, missing: str) -> None:
    """The parent then leaves the sources of bind mounts to the child, which sees what that user namespace can reach."""
    if runtime.account.rootless:
        pytest.skip("root: an ordinary user's parent clones nothing")
    bundle.namespace("user")
    for side in ("uidMappings", "gidMappings"):
        bundle.linux[side] = [{"containerID": 0, "hostID": 200000, "size": 65536}]
    with_everything(runtime, bundle)
    rootfs.give_to(bundle.rootfs, 200000, 200000)
    expected = runtime.output(bundle)
    assert "of the host" in expected
    found = runtime.lacks(REPLACED[missing], errno.ENOSYS).output(bundle)
    assert mounts_of(found) == mounts_of(expected)


SEALS = [(MOUNT_CALLS, True), (("memfd_create",), True), ((*MOUNT_CALLS, "memfd_create"), False)]
"""A process that others can look at runs from a read-only clone of a directory, or from sealed memory, or not at all (CVE-2019-5736)."""


@pytest.mark.parametrize(("calls", "possible"), SEALS, ids=["without mount calls", "without memfd", "without both"])
def test_pid_namespace_of_others_is_joined_sealed_or_not_at_all(
    runtime: Lacking, bundle: Bundle, calls: tuple[str, ...], possible: bool
) -> None:
    if runtime.account.rootless:
        pytest.skip("root: an ordinary user joins the user namespace as well")
    with runtime.running(bundle.runs(*SLEEP)) as first:
        bundle.namespace("pid", f"/proc/{runtime.pid(first)}/ns/pid")
        runtime.lacks(calls, errno.ENOSYS)
        result = runtime.run(bundle.script("echo inside"), status=None)
        runtime.calls = ()
    if result.status == 0:
        assert possible
        assert result.out == "inside\n"
    else:
        assert "memfd_create" in result.err
