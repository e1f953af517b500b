"""Writes to procfs while something else is mounted over the file (CVE-2019-16884, CVE-2025-52881): each reaches the real file or fails.

In a mount namespace of the test's own, so that the machine's /proc stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import host

CHECKOUT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(not host.IS_ROOT, reason="needs root")


WRITES = """
import errno, os, sys
from crate_runc.kernel import procfs
private, path, value = sys.argv[1] == "private", sys.argv[2], sys.argv[3].encode()
root = procfs.open_root(whole=True) if private else procfs.open_mounted("/proc")
try:
    procfs.write(root, path, value)
    fd = procfs.open_file(root, path, os.O_RDONLY)
    print(os.read(fd, 100).decode().strip())
except OSError as error:
    print(errno.errorcode[error.errno])
"""


def write(prepare: str, *arguments: str) -> str:
    """As the one process in a mount namespace and a UTS namespace of its own, which first mounts what an attacker would."""
    script = f'set -e; exec 3>&1; {prepare}; exec "$0" -c "$1" "$2" "$3" "$4"'
    command = ["unshare", "--mount", "--uts", "sh", "-c", script, sys.executable, WRITES, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("attack", "path", "value"),
    [
        ("mount --bind /proc/$$/sched /proc/$$/coredump_filter", "self/coredump_filter", "0x11"),
        ("mount --bind /proc/$$/comm /proc/$$/coredump_filter", "self/coredump_filter", "0x11"),
        (
            "mount -t tmpfs fake /proc/sys && mkdir /proc/sys/kernel && touch /proc/sys/kernel/domainname",
            "sys/kernel/domainname",
            "x",
        ),
        ("mount --bind /proc/sys/kernel/hostname /proc/sys/kernel/domainname", "sys/kernel/domainname", "x"),
    ],
    ids=["file of the process", "another file of the process", "directory of parameters", "another parameter"],
)
def test_something_over_the_file_is_noticed_or_out_of_the_way(attack: str, path: str, value: str) -> None:
    assert write(attack, "mounted", path, value) == "EXDEV"
    assert write(attack, "private", path, value).lstrip("0") == value.removeprefix("0x").lstrip("0")


def test_something_over_all_of_procfs_is_no_procfs() -> None:
    with pytest.raises(AssertionError, match="not a procfs"):
        write("mount -t tmpfs fake /proc", "mounted", "self/coredump_filter", "0x11")


@pytest.mark.parametrize("way", ["mounted", "private"])
@pytest.mark.parametrize(("path", "value"), [("self/coredump_filter", "0x11"), ("sys/kernel/domainname", "x")])
def test_with_nothing_in_the_way_the_file_is_written(way: str, path: str, value: str) -> None:
    """The look-alike."""
    assert write("true", way, path, value).lstrip("0") == value.removeprefix("0x").lstrip("0")


def test_a_mount_elsewhere_in_procfs_does_not_matter() -> None:
    assert write("mount -t tmpfs fake /proc/sys", "mounted", "self/coredump_filter", "0x11") == "00000011"
