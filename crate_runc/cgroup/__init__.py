"""One interface for the control groups of a container, whatever the host has: v1, hybrid, v2 or none.

    cgroup = open_for(config, facts, id, driver)   nothing is done yet
    cgroup.create(); cgroup.apply(resources); cgroup.join(pid)
    state keeps cgroup.paths and .driver           controller → directory, and who made them
    from_state(state, facts).kill(); .delete()

Drivers are cgroupfs (here: v1, v2), systemd, which is loaded only where it is asked for, and disabled. The semantics are those of runc's. As an
ordinary user a cgroup that cannot be made is no error as long as neither a limit
nor a `cgroupsPath` was asked for.
"""

from __future__ import annotations

import time

from crate_runc.cgroup import files, freezer
from crate_runc.cgroup import paths as planned
from crate_runc.errors import CgroupError
from crate_runc.host import UNIFIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.entrance import Entrance
    from crate_runc.cgroup.resources import Write
    from crate_runc.host import HostFacts
    from crate_runc.state.record import ContainerState

CGROUPFS, SYSTEMD, SYSTEMD_USER, DISABLED = "cgroupfs", "systemd", "systemd-user", "disabled"
_KILL_SECONDS = 10.0


class Cgroup:
    """`paths` shrinks in `create` by the hierarchies that an ordinary user may not use, where `optional` allows it."""

    __slots__ = ("facts", "optional", "paths")

    def __init__(self, paths: dict[str, str], facts: HostFacts, *, optional: bool) -> None:
        self.paths = paths
        self.facts = facts
        self.optional = optional

    @property
    def driver(self) -> str:
        """What `from_state` needs to know."""
        return CGROUPFS

    def create(self) -> None:
        """Raises CgroupError. What is there already is used."""
        raise NotImplementedError

    def apply(self, resources: dict[str, Any]) -> None:
        """Set limits and device rules; best before a process joins. Raises BundleError for what this host cannot express, CgroupError."""
        raise NotImplementedError

    def refuse_frozen(self) -> None:
        """A process that joins a paused cgroup stands still before it has said anything. Raises CgroupError."""
        if freezer.is_frozen(self.paths):
            raise CgroupError(
                "container's cgroup unexpectedly frozen; another container that is paused has the same linux.cgroupsPath"
            )

    def check_use(self, memory: dict[str, Any]) -> None:
        """What `checkBeforeUpdate` asks for, before anything is changed: CgroupError for a limit below what is in use. v1's kernel does it."""

    def update(self, resources: dict[str, Any]) -> None:
        """Change limits of a running container: those that are given, but for devices. Raises BundleError and CgroupError; then the limits are
        what they were."""
        raise NotImplementedError

    def change_devices(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """From the rules of one `linux.resources` to those of another, without a moment in which nothing or everything is allowed."""
        raise NotImplementedError

    def join(self, pid: int) -> None:
        """Move a process (a pid of our namespace) into every hierarchy. Takes some milliseconds: the kernel waits for a grace period."""
        raise NotImplementedError

    def entrance(self) -> Entrance | None:
        """For a process that is to be born in this cgroup, which has been created; the caller closes it. None: `join` is the only way. Raises
        CgroupError."""
        return None

    def join_unified(self, pid: int) -> None:
        """What is left to do for a process that came through the entrance, but was not born in the unified hierarchy."""
        if UNIFIED in self.paths:
            files.join(self.paths[UNIFIED], pid)

    def freeze(self, frozen: bool) -> None:
        raise NotImplementedError

    def kill_at_once(self) -> bool:
        """Whether the kernel itself killed the whole cgroup (cgroup.kill)."""
        raise NotImplementedError

    def processes(self) -> list[int]:
        """The pids of the container, with those in cgroups that it made itself, sorted."""
        return sorted({pid for directory in self._directories() for pid in files.processes(directory)})

    def signal(self, number: int) -> int:
        """Send a signal to every process, once; returns how many there were."""
        return files.signal_processes(self._directories(), number)

    def kill(self) -> None:
        """SIGKILL until no process is left. Raises CgroupError where some do not die within ten seconds."""
        if not self.paths or self.kill_at_once():
            return
        deadline = time.monotonic() + _KILL_SECONDS
        while self.signal(9):
            if time.monotonic() > deadline:
                raise CgroupError(f"kill the processes of the container: {', '.join(map(str, self.processes()))} do not end")
            # The first round gets a quiet container; one that forks faster than we list must stand still.
            self.freeze(True)
            try:
                self.signal(9)
            finally:
                self.freeze(False)
            time.sleep(0.002)

    def delete(self) -> None:
        """Remove the directories. Raises CgroupError where processes are left in them."""
        for directory in set(self.paths.values()):
            files.remove(directory)

    def _limit(self, wanted: list[Write], resources: dict[str, Any], mode: str) -> None:
        """Write limits, or none where a controller is missing."""
        directories = self._directories_of(wanted, mode)
        for controller, file, value in wanted:
            if controller not in directories:
                raise self.cannot_limit(controller, resources, mode, file, value)
        files.set_limits(wanted, directories, resources, mode)

    def _directories_of(self, wanted: list[Write], mode: str) -> dict[str, str]:
        """controller → directory, for those that the container has."""
        return dict.fromkeys([one[0] for one in wanted], self.paths[UNIFIED]) if mode == "v2" and self.paths else self.paths

    def _change_limits(self, wanted: list[Write], resources: dict[str, Any], mode: str) -> None:
        """Like `_limit`, or set back what was there."""
        from crate_runc.cgroup import setting_back

        before = setting_back.remember(wanted, self._directories_of(wanted, mode))
        try:
            self._limit(wanted, resources, mode)
        except CgroupError:
            setting_back.restore(before)
            raise

    def cannot_limit(self, controller: str, resources: dict[str, Any], mode: str, file: str, value: str) -> CgroupError:
        from crate_runc.cgroup.refusals import property_of

        return CgroupError(
            f"{property_of(resources, mode, file, value)}: limit {controller}: the container has no {controller} cgroup: "
            + self._why_none(controller)
        )

    def _why_none(self, controller: str) -> str:
        if self.driver == DISABLED:
            return "--cgroup-manager disabled leaves it out"
        if controller not in self.facts.cgroup_mounts and self.facts.cgroup_mode != "v2":
            return "the controller is not mounted"
        return (
            _NOT_DELEGATED
            if self.facts.cgroup_mode == "v2"
            else "this user may not make one; run as root, or leave the limit out"
        )

    def give_to(self, uid: int) -> None:
        """Let a user of the host, by whom the container's own processes run, make cgroups in it; nothing where the kernel delegates none."""

    def _directories(self) -> list[str]:
        """One hierarchy knows all processes: the first of those that nothing but us changes."""
        for controller in ("", "pids", "devices", "freezer"):
            if controller in self.paths:
                return [self.paths[controller]]
        return list(self.paths.values())[:1]


class NoCgroup(Cgroup):
    """A host without cgroups, and a container that got none."""

    __slots__ = ("_driver",)

    def __init__(self, paths: dict[str, str], facts: HostFacts, *, optional: bool, driver: str = CGROUPFS) -> None:
        super().__init__(paths, facts, optional=optional)
        self._driver = driver

    @property
    def driver(self) -> str:
        return self._driver

    def create(self) -> None:
        if not self.optional:
            raise CgroupError(
                "make a cgroup: none is mounted on this host; mount cgroup2 at /sys/fs/cgroup, or leave out linux.cgroupsPath"
            )

    def apply(self, resources: dict[str, Any]) -> None:
        from crate_runc.cgroup.resources import writes

        mode = "v2" if self.facts.cgroup_mode == "none" else self.facts.cgroup_mode
        self._limit(writes(resources, mode), resources, mode)

    def update(self, resources: dict[str, Any]) -> None:
        self.apply(resources)

    def change_devices(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        raise CgroupError("linux.resources.devices: the container has no cgroup")

    def join(self, pid: int) -> None:
        pass

    def freeze(self, frozen: bool) -> None:
        pass

    def kill_at_once(self) -> bool:
        return True


_NOT_DELEGATED = (
    "this user may not make one; use --systemd-cgroup, or start it in a cgroup of the user's own:"
    " `systemd-run --user --scope -p Delegate=yes -- COMMAND`"
)


def open_for(config: dict[str, Any], facts: HostFacts, container_id: str, driver: str = CGROUPFS) -> Cgroup:
    """For a container that is to be made. Does nothing yet; raises BundleError for limits that this host's mode cannot express."""
    if driver == SYSTEMD:
        from crate_runc.cgroup import systemd

        return systemd.open_for(config, facts, container_id)
    if driver == DISABLED:
        return NoCgroup({}, facts, optional=True, driver=DISABLED)
    _check(config.get("linux", {}).get("resources", {}), facts)
    explicit = bool(config.get("linux", {}).get("cgroupsPath"))
    optional = not explicit and (facts.rootless or facts.cgroup_mode == "none")
    return _choose(planned.plan(config, facts, container_id), facts, optional)


def _check(resources: dict[str, Any], facts: HostFacts) -> None:
    from crate_runc.cgroup import device_rules
    from crate_runc.cgroup.resources import writes

    writes(resources, facts.cgroup_mode)
    if facts.cgroup_mode != "v2" and not facts.rootless:
        device_rules.writes_v1(device_rules.effective(resources))


def from_paths(paths: dict[str, str], facts: HostFacts) -> Cgroup:
    """For a container that is there: what its state says."""
    return _choose(dict(paths), facts, True)


def from_state(state: ContainerState, facts: HostFacts) -> Cgroup:
    """The same, and by the driver that made it."""
    if state.cgroup_paths and state.cgroup_driver in (SYSTEMD, SYSTEMD_USER):
        from crate_runc.cgroup import systemd

        return systemd.Scope(dict(state.cgroup_paths), facts, user=state.cgroup_driver == SYSTEMD_USER)
    if state.cgroup_driver == DISABLED:
        return NoCgroup({}, facts, optional=True, driver=DISABLED)
    return from_paths(state.cgroup_paths, facts)


def _choose(paths: dict[str, str], facts: HostFacts, optional: bool) -> Cgroup:
    if not paths:
        return NoCgroup(paths, facts, optional=optional)
    if facts.cgroup_mode == "v2":
        from crate_runc.cgroup.v2 import CgroupV2

        return CgroupV2(paths, facts, optional=optional)
    from crate_runc.cgroup.v1 import CgroupV1

    return CgroupV1(paths, facts, optional=optional)
