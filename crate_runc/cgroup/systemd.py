"""The systemd cgroup driver: a container is a transient scope that systemd makes and delegates to us (systemd's CGROUP_DELEGATION document).

systemd makes no scope without a process, so the cgroup comes to be in `join`, with the container's first process in it and its limits set. They are
then written to the cgroup's files too, as runc does: not all of them have a property. Freezing, killing and figures use the files.

cgroup v2 only. On v1 systemd would write its own device rules over ours whenever it is reloaded.
"""

from __future__ import annotations

import os

from crate_runc.cgroup import SYSTEMD, SYSTEMD_USER, files
from crate_runc.cgroup.resources import writes
from crate_runc.cgroup.v2 import CgroupV2
from crate_runc.errors import CgroupError
from crate_runc.host import UNIFIED
from crate_runc.systemd import bus as systemd_bus
from crate_runc.systemd import properties, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup.entrance import Entrance
    from crate_runc.host import HostFacts
    from crate_runc.systemd.bus import Bus
    from crate_runc.systemd.properties import Property


class Scope(CgroupV2):
    """`paths` ends in the unit's name. `user`: it belongs to a user's own systemd."""

    __slots__ = ("_bus", "_limits", "_made", "_wanted", "user")

    def __init__(self, paths: dict[str, str], facts: HostFacts, *, user: bool, bus: Bus | None = None) -> None:
        super().__init__(paths, facts, optional=False)
        self.user = user
        self._bus = bus
        self._made = True
        self._wanted: tuple[str, str, list[Property]] | None = None
        self._limits: dict[str, Any] | None = None

    @property
    def driver(self) -> str:
        return SYSTEMD_USER if self.user else SYSTEMD

    @property
    def unit(self) -> str:
        return self.paths[UNIFIED].rpartition("/")[2]

    def plan(self, slice: str, container_id: str, wanted: list[Property]) -> None:
        """What the scope is to be, which is not there yet."""
        self._made = False
        self._wanted = slice, container_id, wanted

    def create(self) -> None:
        """Nothing: see `join`."""

    def apply(self, resources: dict[str, Any]) -> None:
        if not self._made:
            self._limits = resources
            return
        super().apply(properties.settled(resources))

    def update(self, resources: dict[str, Any]) -> None:
        """The files first: what the kernel refuses is set back, and systemd hears nothing of it."""
        connection = self._connected()
        version = _version(connection.read_properties("Version")[0])
        wanted = properties.of_limits(writes(resources, "v2"), version, starting=False)
        super().update(properties.settled(resources))
        try:
            if wanted:
                connection.call("SetUnitProperties", "sba(sv)", self.unit, True, wanted)
        except systemd_bus.Refused as error:
            raise CgroupError(f"set the limits of unit {self.unit}: {error}") from None

    def join(self, pid: int) -> None:
        if not self._made:
            self._start(pid)
            return
        try:
            super().join(pid)
        except CgroupError:
            # Who does not own the cgroup above both may not move a process from one to the other; systemd may.
            if not self.user:
                raise
            try:
                self._connected().call("AttachProcessesToUnit", "ssau", self.unit, "", [pid])
            except systemd_bus.Refused as error:
                raise CgroupError(f"move process {pid} to unit {self.unit}: {error}") from None

    def entrance(self) -> Entrance | None:
        """No process can be born in a scope that is not there, nor, by a user, in one beside the session's, which is root's."""
        return super().entrance() if self._made and not self.user else None

    def delete(self) -> None:
        """systemd removes a scope without processes by itself; we wait for it, so that the name is free. Its cgroup goes even where it is not there."""
        try:
            self._stop(self._connected())
        except systemd_bus.BusError:
            pass
        finally:
            self.close()
        super().delete()

    def close(self) -> None:
        if self._bus is not None:
            self._bus.close()
            self._bus = None

    def _start(self, pid: int) -> None:
        assert self._wanted is not None
        slice, container_id, wanted = self._wanted
        connection = self._connected()
        settings = [*properties.of_scope(slice, container_id, pid), *wanted]
        try:
            result = self._start_unit(connection, settings)
        except systemd_bus.Refused as error:
            raise CgroupError(f"start unit {self.unit}: {error}{_hint(error, self.user)}") from None
        if result != "done":
            self._stop(connection)
            raise CgroupError(f"start unit {self.unit}: systemd's job ended as {result}; see `{_status(self.user)} {self.unit}`")
        self._made = True
        if not os.path.isdir(self.paths[UNIFIED]):
            self._stop(connection)
            raise CgroupError(
                f"start unit {self.unit}: its cgroup {self.paths[UNIFIED]} cannot be seen; is all of the host's cgroup2 mounted here?"
            )
        self.close()  # a run in the foreground would else be sent the ends of all jobs, and read none
        if self._limits is not None:
            self.apply(self._limits)

    def _start_unit(self, connection: Bus, settings: list[Property]) -> str:
        arguments = "ssa(sv)a(sa(sv))", self.unit, "replace", settings, ()
        try:
            return connection.job("StartTransientUnit", *arguments)
        except systemd_bus.Refused as error:
            if error.name != "UnitExists" or files.processes(self.paths[UNIFIED]):
                raise
        # what is left of a container of the same name, whose end systemd has not dealt with yet
        self._stop(connection)
        return connection.job("StartTransientUnit", *arguments)

    def _stop(self, connection: Bus) -> None:
        for member, call in (("StopUnit", connection.job), ("ResetFailedUnit", connection.call)):
            words = ("ss", self.unit, "replace") if member == "StopUnit" else ("s", self.unit)
            try:
                call(member, *words)
            except systemd_bus.Refused:
                continue  # it is gone

    def _connected(self) -> Bus:
        if self._bus is None:
            self._bus = systemd_bus.connect(user=self.user)
        return self._bus


def open_for(config: dict[str, Any], facts: HostFacts, container_id: str) -> Scope:
    """For a container that is to be made. systemd is asked where it keeps its cgroups, nothing more. Raises BundleError, CgroupError."""
    if facts.cgroup_mode != "v2":
        raise CgroupError(
            f"systemd cgroup driver: this host has {'no cgroups' if facts.cgroup_mode == 'none' else f'cgroup {facts.cgroup_mode}'}, and it needs"
            " cgroup v2; let the engine use the cgroupfs driver (no --systemd-cgroup)"
        )
    slice, unit = units.unit_of(config, container_id, user=facts.rootless)
    wanted = writes(config.get("linux", {}).get("resources", {}), "v2")
    annotated = properties.of_annotations(config.get("annotations", {}))
    connection = systemd_bus.connect(user=facts.rootless)
    try:
        top, version = connection.read_properties("ControlGroup", "Version")
        limits = properties.of_limits(wanted, _version(version), starting=True)
        mount_point, mount_root = facts.cgroup_mounts[UNIFIED]
        path = f"{top.rstrip('/')}{units.expand(slice)}/{unit}"
        if mount_root != "/":
            path = path.removeprefix(mount_root)
        scope = Scope({UNIFIED: mount_point + path}, facts, user=facts.rootless, bus=connection)
    except BaseException:
        connection.close()
        raise
    scope.plan(slice, container_id, [*annotated, *limits])
    return scope


def _version(text: str) -> int:
    """`252.39-1~deb12u1`, `v245.4` → 252, 245; an unknown form counts as new."""
    digits = text.lstrip("v")
    end = next((at for at, letter in enumerate(digits) if not letter.isdigit()), len(digits))
    return int(digits[:end] or 1000)


def _status(user: bool) -> str:
    return "systemctl --user status" if user else "systemctl status"


def _hint(error: systemd_bus.Refused, user: bool) -> str:
    if error.name == "UnitExists":
        return f"; another container has it; see `{_status(user)}`"
    if error.name in ("AccessDenied", "InteractiveAuthorizationRequired"):
        return "; only root may ask the system's systemd, a user asks its own (--rootless=true)"
    return ""
