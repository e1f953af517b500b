"""What is written down of a container: OCI runtime-spec 1.3 runtime.md, "State" and "Lifecycle". Pure: no file, no kernel call.

A pid alone names no process, since the kernel uses it again: the record also holds the start time (field 22 of proc_pid_stat(5), clock ticks
after boot) and the boot id.
"""

from __future__ import annotations

from crate_runc import SPEC_VERSION
from crate_runc.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = 1
_NEXT = {"creating": ("created", "stopped"), "created": ("running", "stopped"), "running": ("stopped",), "stopped": ()}


class ContainerState:
    """`phase` is what was last written; what the container is now also depends on its process: `status`.

    `pid` 0 means that there is no process yet. `cgroup_paths` is controller → directory, `cgroup_driver` who made them; `resctrl` are the directories
    that go with the container. `config` is the copy of config.json that was made at create: what the bundle says later does not matter. `owner` is
    the effective uid of who made the container.
    """

    __slots__ = (
        "annotations",
        "boot_id",
        "bundle",
        "cgroup_driver",
        "cgroup_paths",
        "config",
        "created",
        "id",
        "oci_version",
        "owner",
        "phase",
        "pid",
        "resctrl",
        "rootfs",
        "start_time",
    )

    def __init__(
        self,
        *,
        id: str,
        bundle: str,
        rootfs: str,
        config: dict[str, Any],
        owner: int,
        created: str,
        phase: str = "creating",
        pid: int = 0,
        start_time: int = 0,
        boot_id: str = "",
        cgroup_paths: dict[str, str] | None = None,
        cgroup_driver: str = "cgroupfs",
        oci_version: str = SPEC_VERSION,
        resctrl: list[str] | None = None,
    ) -> None:
        self.id = id
        self.bundle = bundle
        self.rootfs = rootfs
        self.config = config
        self.annotations: dict[str, str] = config.get("annotations", {})
        self.owner = owner
        self.created = created
        self.phase = phase
        self.pid = pid
        self.start_time = start_time
        self.boot_id = boot_id
        self.cgroup_paths = cgroup_paths or {}
        self.cgroup_driver = cgroup_driver
        self.oci_version = oci_version
        self.resctrl = resctrl or []

    def status(self, *, alive: bool, creator_alive: bool = True) -> str:
        """`alive`: the recorded process is there and no zombie. `creator_alive`: a `create` is still at work on this container."""
        if alive:
            return self.phase
        if self.phase == "creating" and self.pid == 0 and creator_alive:
            return "creating"
        return "stopped"

    def move_to(self, phase: str) -> None:
        """Raises StateError for a step that the lifecycle does not have."""
        if phase not in _NEXT[self.phase]:
            raise StateError(f"container {self.id} cannot become {phase}: it is {self.phase}")
        self.phase = phase

    def as_state_json(self, status: str) -> dict[str, Any]:
        """What `state` and `list` print and hooks read: the spec's keys and the three that runc adds."""
        value: dict[str, Any] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            value["annotations"] = self.annotations
        value["owner"] = ""
        return value

    def to_json(self) -> dict[str, Any]:
        value = {name: getattr(self, name) for name in self.__slots__ if name != "annotations"}
        return {"format": FORMAT, **value}


def from_json(value: Any) -> ContainerState:
    """Raises StateError for a text that another version wrote or that is damaged."""
    if type(value) is not dict or value.get("format") != FORMAT:
        raise StateError("container state: not in the format of this version of crate-runc")
    try:
        return ContainerState(**{name: item for name, item in value.items() if name != "format"})
    except TypeError as error:
        raise StateError(f"container state: damaged: {error}") from None
