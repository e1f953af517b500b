"""Mounts of an ordinary user's containers: with the own id alone, over file systems that are the host's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.runtime import Bundle, OciRuntime


@pytest.fixture
def volume(rootless_runtime: OciRuntime) -> Path:
    directory = rootless_runtime.directory / "volume"
    directory.mkdir()
    (directory / "file").write_text("of the host\n")
    for path in (directory, directory / "file"):
        os.chown(path, rootless_runtime.account.uid, rootless_runtime.account.gid)
    return directory


def needs_ours(runtime: OciRuntime) -> None:
    if runtime.name == "runc":
        pytest.skip("a runtime with idmapped mounts: this runc came before them")


@pytest.mark.parametrize("how", ["option", "text", "mappings"])
def test_idmapped_mount_of_the_hosts_is_an_error(
    rootless_runtime: OciRuntime, rootless_bundle: Bundle, volume: Path, how: str
) -> None:
    """It takes privileges over the file system: never silence, and never a mount without the mapping."""
    needs_ours(rootless_runtime)
    mapping = [{"containerID": 0, "hostID": rootless_runtime.account.uid, "size": 1}]
    entries: dict[str, dict[str, object]] = {
        "option": {"options": ["bind", "idmap"]},
        "text": {"options": ["bind", "idmap=uids=@0-0-1;gids=@0-0-1"]},
        "mappings": {"options": ["bind"], "uidMappings": mapping, "gidMappings": mapping},
    }
    rootless_bundle.mount("/mnt", type="bind", source=str(volume), **entries[how])
    result = rootless_runtime.run(rootless_bundle.runs("true"), status=1)
    assert "an idmapped mount needs the rights and the calls of mount_setattr(2)" in result.err


@pytest.mark.parametrize("options", [["bind", "ro"], ["rbind", "rro"], ["rbind", "nosuid", "nodev", "noexec"]])
def test_flags_of_a_bind_mount(rootless_runtime: OciRuntime, rootless_bundle: Bundle, volume: Path, options: list[str]) -> None:
    rootless_bundle.mount("/mnt", type="bind", source=str(volume), options=options)
    rows = [line.split() for line in rootless_runtime.output(rootless_bundle.runs("cat", "/proc/self/mounts")).splitlines()]
    (found,) = [set(row[3].split(",")) for row in rows if row[1] == "/mnt"]
    assert {word for word in options if word.startswith("no") or word == "ro"} | ({"ro"} if "rro" in options else set()) <= found


def test_writable_bind_mount(rootless_runtime: OciRuntime, rootless_bundle: Bundle, volume: Path) -> None:
    rootless_bundle.mount("/mnt", type="bind", source=str(volume), options=["rbind", "rw", "rprivate"])
    rootless_runtime.run(rootless_bundle.script("echo new > /mnt/new"))
    assert (volume / "new").stat().st_uid == rootless_runtime.account.uid


def test_new_sysfs_is_replaced_by_the_hosts(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    """The network namespace is the host's, and so no new sysfs may be mounted. Nothing of it can be written to (CVE-2023-25809)."""
    if rootless_runtime.name == "runc":
        pytest.skip("a runtime that falls back to the host's /sys: this runc does not where it is read-only")
    rootless_bundle.mount("/sys", type="sysfs", source="sysfs", options=["nosuid", "noexec", "nodev", "ro"])
    out = rootless_runtime.output(rootless_bundle.script("ls /sys; grep -E ' /sys(/| )' /proc/self/mounts"))
    assert "kernel" in out.split()
    options = [line.split()[3].split(",") for line in out.splitlines() if line.count(" ") > 3]
    assert options
    assert all("ro" in words for words in options)


def test_tmpcopyup(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    rootless_bundle.mount("/etc", type="tmpfs", source="tmpfs", options=["tmpcopyup", "size=1m"])
    assert "alice" in rootless_runtime.output(rootless_bundle.script("cat /etc/passwd; touch /etc/new"))


def test_fifo_needs_no_privileges(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    if rootless_runtime.name == "runc":
        pytest.skip("a runtime that makes FIFOs in user namespaces: this runc looks for the host's")
    rootless_bundle.linux["devices"] = [{"path": "/dev/fifo", "type": "p", "fileMode": 0o600}]
    assert rootless_runtime.output(rootless_bundle.runs("stat", "-c", "%F %a", "/dev/fifo")) == "fifo 600\n"


def test_device_that_the_host_has_not_is_an_error(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    rootless_bundle.linux["devices"] = [{"path": "/dev/crate-none", "type": "c", "major": 1, "minor": 3}]
    assert "no such file or directory" in rootless_runtime.run(rootless_bundle.runs("true"), status=1).err
