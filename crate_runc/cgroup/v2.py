"""Control groups v2 (the kernel's cgroup-v2 document): one directory, whose ancestors hand controllers down by cgroup.subtree_control."""

from __future__ import annotations

import os

from crate_runc.cgroup import Cgroup, files, paths
from crate_runc.errors import CgroupError, reason
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.entrance import Entrance


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
        if self.optional and not _may_be_joined(directory):
            self.paths.clear()
        self.refuse_frozen()

    def apply(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup.resources import writes

        wanted = writes(resources, "v2")
        self.check_use(resources.get("memory", {}))
        self._limit(wanted, resources, "v2")
        if not self.paths:
            return
        if not self.facts.rootless:
            self._filter_devices(resources)

    def check_use(self, memory: dict[str, Any]) -> None:
        if memory.get("checkBeforeUpdate") and self.paths:
            _check_use(self.paths[UNIFIED], memory)

    def update(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup.resources import writes

        self._change_limits(writes(resources, "v2"), resources, "v2")

    def change_devices(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        from crate_runc.cgroup import device_rules
        from crate_runc.kernel import bpf_attached

        program = device_rules.program(device_rules.effective(after))
        try:
            bpf_attached.replace_device_program(self.paths[UNIFIED], program)
        except OSError as error:
            raise CgroupError(
                f"linux.resources.devices: limit the devices of cgroup {self.paths[UNIFIED]}: {reason(error)}"
            ) from None

    def _filter_devices(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup import device_rules
        from crate_runc.kernel import bpf

        program = device_rules.program(device_rules.effective(resources))
        directory = self.paths[UNIFIED]
        try:
            bpf.attach_device_program(directory, program)
        except OSError as error:
            raise CgroupError(f"limit the devices of cgroup {directory}: {reason(error)}") from None

    def entrance(self) -> Entrance | None:
        from crate_runc.cgroup.entrance import open_entrance

        return open_entrance(self.paths.get(UNIFIED), set())

    def join(self, pid: int) -> None:
        if self.paths:
            files.join(self.paths[UNIFIED], pid)

    def give_to(self, uid: int) -> None:
        if not self.paths:
            return
        directory = self.paths[UNIFIED]
        try:
            names = files.read("/sys/kernel/cgroup", "delegate").split()
        except FileNotFoundError:  # before Linux 4.15
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]
        try:
            os.chown(directory, uid, -1)
            for name in names:
                if os.path.exists(f"{directory}/{name}"):
                    os.chown(f"{directory}/{name}", uid, -1)
        except OSError as error:
            raise CgroupError(f"give cgroup {directory} to user {uid}: {reason(error)}") from None

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


def _may_be_joined(directory: str) -> bool:
    """A process may be moved by who may write both here and in the cgroup above (where ours is, too). What is there already may be root's."""
    return all(os.access(f"{each}/cgroup.procs", os.W_OK) for each in (directory, directory.rpartition("/")[0]))


def _check_use(directory: str, memory: dict[str, Any]) -> None:
    """v1 refuses a limit below what is in use; v2 kills for it, unless `checkBeforeUpdate` asks us to look."""
    try:
        used = int(files.read(directory, "memory.current"))
    except OSError:
        return
    for name in ("swap", "limit"):
        if 0 < memory.get(name, 0) <= used:
            raise CgroupError(f"linux.resources.memory.{name}: {memory[name]} is not more than what is in use, {used}")


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
