"""A store on a disk that is full: of blocks, to the last or the last few, or of inodes. What is here can be seen, stopped and removed.

The disk is a small tmpfs in a mount namespace of its own, which a process keeps as long as the test lasts.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.images.conftest import Server, layer
from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import Account

PAGE = 4096
FILL = """
import os, sys
directory, kind, spare = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.mkdir(directory)
if kind == "inodes":
    number = 0
    try:
        while True:
            os.mknod(f"{directory}/{number}")
            number += 1
    except OSError:
        for back in range(1, spare + 1):
            os.unlink(f"{directory}/{number - back}")
else:
    free = os.statvfs(directory).f_bavail - spare
    with open(f"{directory}/0", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, free * 4096)
print(os.statvfs(directory).f_bavail, os.statvfs(directory).f_ffree)
"""


class SmallDisk(Crate):
    """Its store, and only that, is on a tmpfs of 24 MiB and 3000 inodes that no other process sees."""

    def __init__(self, program: Path, directory: Path, account: Account) -> None:
        super().__init__(program, directory, account)
        self.root.mkdir()
        mount = f"mount -t tmpfs -o size=24m,nr_inodes=3000,mode=700 tmpfs {self.root} && echo ready && exec sleep 600"
        self._holder = subprocess.Popen(
            [host.program("unshare"), "--mount", "--propagation", "private", "sh", "-c", mount], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    def inside(self, *words: str) -> list[str]:
        return [host.program("nsenter", "util-linux"), f"--mount=/proc/{self._holder.pid}/ns/mnt", "--", *words]

    def command(self, *words: str) -> list[str]:
        return self.inside(*super().command(*words))

    def fill(self, kind: str, spare: int) -> tuple[int, int]:
        """All but so many pages or inodes; returns how many of both are free then."""
        out = self.account.run(self.inside("python3", "-c", FILL, f"{self.root}/filler", kind, str(spare))).out.split()
        return int(out[0]), int(out[1])

    def make_room(self) -> None:
        self.account.run(self.inside("rm", "-rf", f"{self.root}/filler"))

    def findings(self, *flags: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.out("system", "check", "--json", *flags))["findings"]
        return found

    def destroy(self) -> None:
        self.remove_containers()
        self._holder.terminate()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        subprocess.run(["rm", "-rf", str(self.directory)], check=True)


@pytest.fixture
def disk(ourselves: Account, bin_directory: Path, base: Path, images: Any, server: Server) -> Iterator[SmallDisk]:
    """With a container that runs, one that has ended, and an image that nothing uses."""
    host.need_root()
    crate = SmallDisk(bin_directory / "crate", base / "disk", ourselves)
    crate("run", "-d", "-q", "--network", "none", "--name", "running", images.busybox, "sleep", "1000", stdout=subprocess.DEVNULL)
    crate("run", "-q", "--network", "none", "--name", "ended", images.busybox, "true")
    server.image("spare", "1", layers=[layer({"file": b"x" * 100_000})])
    crate("pull", "-q", f"{server.host}/spare:1")
    yield crate
    crate.destroy()


@pytest.mark.parametrize(("kind", "spare"), [("blocks", 0), ("blocks", 1), ("blocks", 4), ("inodes", 0), ("inodes", 1)])
def test_a_full_disk_can_be_seen_and_emptied(disk: SmallDisk, images: Any, server: Server, kind: str, spare: int) -> None:
    server.image("new", "1", layers=[layer({"file": b"y" * 300_000})], variant="y")
    pages, inodes = disk.fill(kind, spare)
    assert (inodes if kind == "inodes" else pages) == spare
    assert {name for name in disk.out("ps", "-a").split() if name in ("running", "ended")} == {"running", "ended"}
    assert len(disk.out("images", "-q").split()) == 2
    refused = disk("pull", "-q", f"{server.host}/new:1", status=1)
    assert "no space left on device" in refused.err.lower()
    assert not [one for one in disk.findings() if one["damage"]]
    assert len(disk.out("images", "-q").split()) == 2
    disk("rm", "ended")
    disk("rmi", f"{server.host}/spare:1")
    disk("system", "prune", "-f")
    disk("stop", "-t", "0", "running")
    disk("rm", "running")
    disk("rmi", images.busybox)
    disk.make_room()
    assert disk.findings("--full") == []
    disk("pull", "-q", f"{server.host}/new:1")
    assert disk.findings("--full") == []
    assert len(disk.out("images", "-q").split()) == 1
