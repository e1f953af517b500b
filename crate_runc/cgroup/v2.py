"""Control groups v2 (the kernel's cgroup-v2 document): one directory, whose ancestors hand controllers down by cgroup.subtree_control."""

from __future__ import annotations

import os

from crate_runc.cgroup import Cgroup, device_rules, files, paths
from crate_runc.cgroup.resources import writes
from crate_runc.errors import CgroupError, reason
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CgroupV2(Cgroup):
    __slots__ = ()

    def create(self) -> None:
        directory = self.paths[UNIFIED]
        mount_point = paths.mount_point_of(directory, UNIFIED, self.facts)
        current = mount_point
        try:
            for part in directory[len(mount_point) + 1 :].split("/"):
                _hand_down(current)
                current = f"{current}/{part}"
                try:
                    os.mkdir(current, 0o755)
                except FileExistsError:
                    pass
        except OSError as error:
            if not self.optional:
                raise CgroupError(f"make cgroup {current}: {reason(error)}") from None
            self.paths.clear()
            return
        if self.optional and not os.access(f"{directory}/cgroup.procs", os.W_OK):
            self.paths.clear()

    def apply(self, resources: dict[str, Any]) -> None:
        wanted = writes(resources, "v2")
        self._limit(wanted, resources, "v2")
        if not self.paths:
            return
        if not self.facts.rootless:
            self._filter_devices(resources)

    def _filter_devices(self, resources: dict[str, Any]) -> None:
        from crate_runc.kernel import bpf

        program = device_rules.program(device_rules.effective(resources))
        directory = self.paths[UNIFIED]
        try:
            bpf.attach_device_program(directory, program)
        except OSError as error:
            raise CgroupError(f"limit the devices of cgroup {directory}: {reason(error)}") from None

    def join(self, pid: int) -> None:
        if self.paths:
            files.join(self.paths[UNIFIED], pid)

    def freeze(self, frozen: bool) -> None:
        try:
            files.write(self.paths[UNIFIED], "cgroup.freeze", "1" if frozen else "0")
        except FileNotFoundError:
            pass

    def kill_at_once(self) -> bool:
        try:
            files.write(self.paths[UNIFIED], "cgroup.kill", "1")
        except (FileNotFoundError, PermissionError):
            return False
        return True


def _hand_down(directory: str) -> None:
    """Let the children use all that is available here, so that figures of each can be read.

    A cgroup with processes refuses (EBUSY), and so do those of others; whether a controller is missed shows when a limit is set.
    """
    try:
        used = files.read(directory, "cgroup.subtree_control").split()
        missing = [f"+{name}" for name in files.read(directory, "cgroup.controllers").split() if name not in used]
    except OSError:
        return
    for value in [" ".join(missing), *missing] if missing else []:  # all in one write, or else one by one
        try:
            files.write(directory, "cgroup.subtree_control", value)
        except OSError:
            continue
        if value.count("+") == len(missing):
            return
