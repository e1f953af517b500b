"""linux.intelRdt: the container's class of cache and memory bandwidth, a directory of the resctrl file system (runtime-spec 1.3, config-linux.md).

What is checked is checked before anything is made; what will be made is written down in the container's state first, so that `delete` removes
that and nothing else. The file system is not mounted here, and statistics are not read.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import BundleError, StepError
from crate_runc.steps.step import ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import Config, ParentContext

_WHERE = "linux.intelRdt"


def plan(config: Config, container_id: str, *, is_exec: bool) -> list[ParentStep]:
    if "intelRdt" not in config.get("linux", {}):
        return []
    return [JoinClass(Class(config["linux"]["intelRdt"], container_id), makes=not is_exec)]


def check(config: Config, container_id: str, mountinfo: str) -> list[str]:
    """The directories that the container will make. Raises BundleError where the host has no resctrl, or not what is asked."""
    return Class(config["linux"]["intelRdt"], container_id).check(root_of(mountinfo))


def remove(directories: list[str]) -> None:
    """Those that `check` named. Who is still in them goes back to the default class."""
    for directory in reversed(directories):
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue


def root_of(mountinfo: str) -> str:
    """The first mount of a resctrl file system. Raises BundleError."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("resctrl "):
            return before.split(" ")[4]
    raise BundleError(
        _WHERE, "no resctrl file system is mounted; where the processor has one: mount -t resctrl resctrl /sys/fs/resctrl"
    )


class Class:
    """A class of service and the monitoring group in it, as config.json asks for them. Paths are relative to a root that is passed in."""

    __slots__ = ("is_own", "lines", "monitor", "name")

    def __init__(self, wanted: dict[str, Any], container_id: str) -> None:
        self.is_own = not wanted.get("closID")
        self.name = container_id if self.is_own else wanted["closID"].strip("/")
        self.monitor = container_id if wanted.get("enableMonitoring") else ""
        first = [wanted.get("l3CacheSchema", ""), wanted.get("memBwSchema", "")]
        self.lines = [line for line in (*first, *wanted.get("schemata", [])) if line]

    def directory(self, root: str) -> str:
        return f"{root}/{self.name}" if self.name else root

    def monitoring_directory(self, root: str) -> str:
        return f"{self.directory(root)}/mon_groups/{self.monitor}"

    def check(self, root: str) -> list[str]:
        """What is the container's own, to be removed with it. A class that has a name of its own stays, also if it is made now."""
        directory = self.directory(root)
        there = os.path.isdir(directory)
        if self.is_own and there:
            raise BundleError(_WHERE, f"{directory} exists already; name it by closID if it is meant")
        if not there and not self.is_own and not self.lines:
            raise BundleError(f"{_WHERE}.closID", f"{directory} does not exist, and nothing says what to write to it")
        if there and self.lines:
            with open(f"{directory}/schemata", encoding="ascii") as file:
                self._compare(file.read(), directory)
        made = [directory] if self.is_own else []
        if self.monitor:
            if os.path.isdir(self.monitoring_directory(root)):
                raise BundleError(f"{_WHERE}.enableMonitoring", f"{self.monitoring_directory(root)} exists already")
            made.append(self.monitoring_directory(root))
        return made

    def _compare(self, present: str, directory: str) -> None:
        existing = parse_schemata(present)
        for line in self.lines:
            for resource, values in parse_schemata(line).items() or [(line, {})]:
                if not values.items() <= existing.get(resource, {}).items() or not values:
                    raise BundleError(_WHERE, f"{line} is not what {directory}/schemata says")

    def make(self, root: str) -> None:
        """Raises OSError."""
        directory = self.directory(root)
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o755)
            if self.lines:
                _write(f"{directory}/schemata", "".join(f"{line}\n" for line in self.lines))
        if self.monitor:
            os.mkdir(self.monitoring_directory(root), 0o755)

    def join(self, root: str, pid: int) -> None:
        """Raises OSError. A task that a process starts is where that process is."""
        _write(f"{self.directory(root)}/tasks", str(pid))
        if self.monitor:
            _write(f"{self.monitoring_directory(root)}/tasks", str(pid))


class JoinClass(ParentStep):
    __slots__ = ("makes", "wanted")

    def __init__(self, wanted: Class, *, makes: bool) -> None:
        self.wanted = wanted
        self.makes = makes

    def describe(self) -> str:
        schemata = f" of {', '.join(self.wanted.lines)}" if self.makes and self.wanted.lines else ""
        return f"join the resctrl class {self.wanted.name or '/'}{schemata}" + (", monitored" if self.wanted.monitor else "")

    def apply(self, parent: ParentContext) -> None:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            root = root_of(file.read())
        try:
            if self.makes:
                self.wanted.make(root)
            self.wanted.join(root, parent.pid)
        except OSError as error:
            text = f"{self.describe()}: {(error.strerror or '').lower()}{_last_words(root)}"
            if error.errno == errno.ENOSPC:
                text += "; the processor has no class left"
            raise StepError("resctrl", error.errno or 0, text) from None


def parse_schemata(text: str) -> dict[str, dict[str, int]]:
    """`L3:0=7ff;1=7ff` as {"L3": {"0": 0x7ff, "1": 0x7ff}}. Bandwidths are decimal, masks are not; what is neither is left out."""
    found: dict[str, dict[str, int]] = {}
    for line in text.splitlines():
        resource, _, domains = line.strip().partition(":")
        for domain in domains.split(";"):
            number, _, value = domain.strip().partition("=")
            try:
                found.setdefault(resource, {})[str(int(number))] = int(value, 10 if resource in ("MB", "SMBA") else 16)
            except ValueError:
                continue
    return found


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _last_words(root: str) -> str:
    """What the kernel says of the last refusal."""
    try:
        with open(f"{root}/info/last_cmd_status", encoding="utf-8", errors="replace") as file:
            text = file.read().strip()
    except OSError:
        return ""
    return f" ({text})" if text and text != "ok" else ""
