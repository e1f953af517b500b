"""Control groups v1, and v1 beside cgroup2 ("hybrid"): one directory per hierarchy (cgroups(7), the kernel's cgroup-v1 documents).

On a hybrid host the limits are v1's, and the container also gets a directory in the unified hierarchy, which holds no controller.
"""

from __future__ import annotations

import errno
import os

from crate_runc.cgroup import Cgroup, files, paths
from crate_runc.errors import CgroupError, reason
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.entrance import Entrance

_DENIED = (PermissionError, FileNotFoundError)


class CgroupV1(Cgroup):
    __slots__ = ()

    def create(self) -> None:
        for controller, directory in list(self.paths.items()):
            try:
                self._make(controller, directory)
                if self.optional and not os.access(f"{directory}/cgroup.procs", os.W_OK):  # there already, and root's
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            except OSError as error:
                if not self.optional:
                    raise CgroupError(f"make cgroup {directory}: {reason(error)}") from None
                del self.paths[controller]  # as an ordinary user: fine, until a limit is asked for
                continue
            if self.optional and not os.access(f"{directory}/cgroup.procs", os.W_OK):
                del self.paths[controller]  # it was there, and belongs to somebody else
        self.refuse_frozen()

    def _make(self, controller: str, directory: str) -> None:
        mount_point = paths.mount_point_of(directory, controller, self.facts)
        current = mount_point
        for part in directory[len(mount_point) + 1 :].split("/"):
            parent, current = current, f"{current}/{part}"
            try:
                os.mkdir(current, 0o755)
            except FileExistsError:
                pass
            if controller == "cpuset":
                _fill_cpuset(parent, current)

    def apply(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup import device_rules
        from crate_runc.cgroup.resources import writes

        wanted = writes(resources, "v1")
        rules = device_rules.writes_v1(device_rules.effective(resources)) if not self.facts.rootless else []
        self._limit(wanted, resources, "v1")
        if resources.get("memory", {}).get("kernel", 0) > 0:
            _check_kernel_memory(self.paths["memory"], resources["memory"]["kernel"])
        if rules and "devices" not in self.paths:
            raise CgroupError("limit devices: no devices controller is mounted on this host")
        for file, line in rules:
            files.set_value(self.paths["devices"], file, line)

    def update(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup.resources import writes

        wanted = writes(resources, "v1")
        if resources.get("memory", {}).get("disableOOMKiller") is False:
            wanted.append(("memory", "memory.oom_control", "0"))
        self._change_limits(wanted, resources, "v1")
        if resources.get("memory", {}).get("kernel", 0) > 0:
            _check_kernel_memory(self.paths["memory"], resources["memory"]["kernel"])

    def change_devices(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        from crate_runc.cgroup import device_rules

        if "devices" not in self.paths:
            raise CgroupError("linux.resources.devices: limit devices: the container has no devices cgroup")
        for file, line in device_rules.changes_v1(device_rules.effective(before), device_rules.effective(after)):
            files.set_value(self.paths["devices"], file, line)

    def join(self, pid: int) -> None:
        for directory in set(self.paths.values()):  # controllers that are mounted together share a directory
            files.join(directory, pid)

    def entrance(self) -> Entrance | None:
        from crate_runc.cgroup.entrance import open_entrance

        return open_entrance(self.paths.get(UNIFIED), {self.paths[name] for name in self.paths if name != UNIFIED})

    def freeze(self, frozen: bool) -> None:
        if "freezer" in self.paths:
            try:
                files.write(self.paths["freezer"], "freezer.state", "FROZEN" if frozen else "THAWED")
            except FileNotFoundError:
                pass  # the cgroup is gone, and so are its processes

    def kill_at_once(self) -> bool:
        """The unified hierarchy of a hybrid host can kill a whole cgroup as well, since Linux 5.14."""
        directory = self.paths.get(UNIFIED)
        if directory is None:
            return False
        try:
            files.write(directory, "cgroup.kill", "1")
        except _DENIED:
            return False
        return not self.processes()


def _check_kernel_memory(directory: str, limit: int) -> None:
    """Since Linux 6.6 the file takes any value and keeps none."""
    if int(files.read(directory, "memory.kmem.limit_in_bytes")) > limit:
        raise CgroupError("linux.resources.memory.kernel: this kernel does not limit kernel memory alone; use memory.limit")


def _fill_cpuset(parent: str, directory: str) -> None:
    """A new cpuset is empty, and takes no process until it has processors and memory nodes."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not files.read(directory, file).strip():
            files.write(directory, file, files.read(parent, file).strip())
