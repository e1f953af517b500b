"""What a test left behind: mounts, processes, control groups, namespaces, file descriptors, files.

Other work goes on on the same machine, so everything found is told apart by what it has of ours: a path below the directory of the test run,
the mark in the environment, the id of a container. Ids are learned from the directories that stores make for containers, by inotify(7): a
container that was removed is the one that leaks.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import host
from tests.support.programs import MARK, SLOW

_IN_CREATE, _IN_MOVED_TO = 0x100, 0x80
_IN_NONBLOCK = os.O_NONBLOCK | os.O_CLOEXEC
_PATIENCE = 5.0  # seconds: what a stopped container needs to come to its end
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


class Watch:
    """Collects the ids of all containers that are made in the stores it was told of."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self._libc = host.libc()
        self._fd = self._libc.inotify_init1(_IN_NONBLOCK)

    def add(self, directory: Path) -> None:
        """`directory` holds, or will hold, one entry per container."""
        directory.mkdir(parents=True, exist_ok=True)
        self._libc.inotify_add_watch(self._fd, os.fsencode(directory), _IN_CREATE | _IN_MOVED_TO)

    def read(self) -> set[str]:
        try:
            while content := os.read(self._fd, 65536):
                at = 0
                while at < len(content):
                    (length,) = struct.unpack_from("I", content, at + 12)
                    name = content[at + 16 : at + 16 + length].rstrip(b"\0").decode()
                    if _CONTAINER_ID.fullmatch(name) or name.startswith("ct-"):
                        self.ids.add(name)
                    at += 16 + length
        except BlockingIOError:
            pass
        return self.ids

    def close(self) -> None:
        os.close(self._fd)


@dataclass(frozen=True)
class Snapshot:
    """Each set has one text per thing, in the words of the report."""

    mounts: frozenset[str]
    processes: frozenset[str]
    cgroups: frozenset[str]
    namespaces: frozenset[str]
    descriptors: frozenset[str]
    files: frozenset[str]

    def since(self, before: Snapshot) -> list[str]:
        kinds = ("mounts", "processes", "cgroups", "namespaces", "descriptors", "files")
        return [f"{kind}: {item}" for kind in kinds for item in sorted(getattr(self, kind) - getattr(before, kind))]


@dataclass
class Census:
    """Takes snapshots of what belongs to one test run. `base` is its directory; `temporaries` are the TMPDIRs of its programs."""

    base: Path
    watch: Watch
    temporaries: list[Path] = field(default_factory=list)

    def take(self) -> Snapshot:
        ids = self.watch.read()
        return Snapshot(
            mounts=frozenset(self._mounts(ids)),
            processes=frozenset(text for _, text in self._processes(ids)),
            cgroups=frozenset(_cgroups(ids)),
            namespaces=frozenset(_named_namespaces(ids)),
            descriptors=frozenset(_descriptors()),
            files=frozenset(self._files(ids)),
        )

    def settle(self, before: Snapshot) -> list[str]:
        """What is still there that was not, once everything had time to end."""
        deadline = time.monotonic() + _PATIENCE * SLOW
        while (left := self.take().since(before)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def end_processes(self, before: Snapshot) -> None:
        """Kill what leaked, so that the tests that follow start clean."""
        for pid, text in self._processes(self.watch.read()):
            if text not in before.processes:
                try:
                    os.kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

    def _mounts(self, ids: set[str]) -> Iterator[str]:
        for line in _read("/proc/self/mountinfo").splitlines():
            if str(self.base) in line or _names_one(line, ids):
                yield " ".join(line.split()[3:])

    def _processes(self, ids: set[str]) -> Iterator[tuple[int, str]]:
        own_namespace = _link("/proc/self/ns/mnt")
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            why = self._ours(f"/proc/{entry}", ids, own_namespace)
            if why:
                command = _read(f"/proc/{entry}/cmdline").replace("\0", " ").strip() or _read(f"/proc/{entry}/comm").strip()
                yield int(entry), f"{entry} {command[:160]} ({why})"

    def _ours(self, proc: str, ids: set[str], own_namespace: str) -> str:
        """By what a process is told to be ours; empty when it is not, or is gone, or a zombie that its parent will collect."""
        if re.search(r"^State:\s+[ZX]", _read(f"{proc}/status"), re.MULTILINE):
            return ""
        base = str(self.base)
        if f"{MARK}={os.getpid()}\0" in _read(f"{proc}/environ"):
            return "environment"
        if base in _read(f"{proc}/cmdline"):
            return "command line"
        if _names_one(_read(f"{proc}/cgroup"), ids):
            return "control group"
        if base in _link(f"{proc}/cwd"):
            return "working directory"
        if _link(f"{proc}/ns/mnt") not in ("", own_namespace) and base in _read(f"{proc}/mountinfo"):
            return "mount namespace"
        return ""

    def _files(self, ids: set[str]) -> Iterator[str]:
        for directory in self.temporaries:
            yield from (str(path) for path in directory.iterdir())
        for directory in (Path("/tmp"), Path("/dev/shm"), Path("/run"), Path("/var/tmp")):
            yield from (f"{directory}/{name}" for name in _listing(directory) if _names_one(name, ids))


def _cgroups(ids: set[str]) -> Iterator[str]:
    if not ids:
        return
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        for name in names:
            if _names_one(name, ids):
                yield f"{directory}/{name}"


def _named_namespaces(ids: set[str]) -> Iterator[str]:
    for directory in (Path("/run/netns"), Path("/run/crate/netns")):
        for name in _listing(directory):
            if _names_one(name, ids) or name.startswith("crate"):
                yield f"{directory}/{name}"


def _descriptors() -> Iterator[str]:
    """Our own. A pipe, socket or file has a text that no other has."""
    for entry in os.listdir("/proc/self/fd"):
        target = _link(f"/proc/self/fd/{entry}")
        if target and not target.startswith("/proc/"):  # the listing itself is among them
            yield f"{entry} {target}"


def _names_one(text: str, ids: set[str]) -> bool:
    return any(identity in text for identity in ids)


def _listing(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except (OSError, ValueError):
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
