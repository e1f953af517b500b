"""The time namespace with linux.timeOffsets: clocks of the container's own for CLOCK_MONOTONIC and CLOCK_BOOTTIME (time_namespaces(7)).

The offsets can be written until the first process is in the namespace; unshare(2) alone puts none there. This process goes in at once, by
setns(2), and not only those that it forks: it may be the container's init already.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import namespaces, prctl, procfs
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config


def plan(config: Config, path: str) -> list[ChildStep]:
    """path: of the namespace to join, empty for a new one."""
    return [JoinTime(path)] if path else [UnshareTime(config.get("linux", {}).get("timeOffsets", {}))]


class UnshareTime(ChildStep):
    __slots__ = ("offsets",)
    after_clone = True

    def __init__(self, offsets: dict[str, Any]) -> None:
        self.offsets = {clock: (value.get("secs", 0), value.get("nanosecs", 0)) for clock, value in offsets.items()}

    def describe(self) -> str:
        text = ", ".join(f"{clock} {secs}.{nanosecs:09d} s" for clock, (secs, nanosecs) in self.offsets.items())
        return "make a new namespace of each kind: time" + (f"; offsets {text}" if text else "")

    def apply(self, child: ChildContext) -> None:
        try:
            namespaces.unshare(namespaces.NEWTIME)
        except OSError as error:
            text = "this kernel has no time namespaces" if error.errno == errno.EINVAL else (error.strerror or "").lower()
            raise StepError("time namespace", error.errno or 0, f"make a time namespace: {text}") from None
        root = procfs.open_root()
        try:
            self._write_offsets(root)
            directory = procfs.open_file(root, "self/ns", os.O_PATH | os.O_DIRECTORY)
        finally:
            os.close(root)
        namespace = os.open("time_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        os.close(directory)
        namespaces.setns(namespace, namespaces.NEWTIME)
        os.close(namespace)

    def _write_offsets(self, root: int) -> None:
        lines = [f"{clock} {secs} {nanosecs}\n" for clock, (secs, nanosecs) in self.offsets.items()]
        if not lines:
            return
        try:
            _write("".join(lines).encode(), root)
        except OSError as error:
            text = (error.strerror or "").lower()
            if error.errno == errno.ERANGE:
                text = "a clock would be negative, or beyond what the kernel counts"
            raise StepError("time namespace", error.errno or 0, f"set linux.timeOffsets: {text}") from None


def _write(text: bytes, root: int) -> None:
    """In a user namespace that was joined, the files of a process that is not dumpable belong to a root of whom it knows nothing. It is dumpable
    for this moment then, still on the host's side of the pid namespace."""
    try:
        procfs.write(root, "self/timens_offsets", text)
    except PermissionError:
        prctl.set_dumpable(True)
        try:
            procfs.write(root, "self/timens_offsets", text)
        finally:
            prctl.set_dumpable(False)


class JoinTime(ChildStep):
    __slots__ = ("path",)
    after_clone = True

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"join the time namespace {self.path}"

    def apply(self, child: ChildContext) -> None:
        fd = child.fds["namespace", self.path]
        try:
            namespaces.setns(fd, namespaces.NEWTIME)
        except OSError as error:
            if error.errno != errno.EINVAL or namespaces.kind_of(fd) == namespaces.NEWTIME:
                raise
            text = f"join the time namespace {self.path}: it is no time namespace"
            raise StepError(self.describe(), errno.EINVAL, text) from None
