"""What a step is, and what the two processes that walk steps hold."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup import Cgroup
    from crate_runc.process.channel import Channel

    Config = dict[str, Any]


def namespace_paths(config: Config) -> dict[str, str]:
    """Type of each namespace the container has of its own or joins, and the path it joins ("": made anew)."""
    return {entry["type"]: entry.get("path", "") for entry in config.get("linux", {}).get("namespaces", [])}


class Step:
    """One effect on the system: what it is can be printed before it is done."""

    __slots__ = ()

    def describe(self) -> str:
        """One line, the same on every machine for the same bundle."""
        raise NotImplementedError


class ParentStep(Step):
    __slots__ = ()

    def apply(self, parent: ParentContext) -> None:
        raise NotImplementedError


class ChildStep(Step):
    __slots__ = ()

    def apply(self, child: ChildContext) -> None:
        raise NotImplementedError


class ParentContext:
    """`pid`: the child, first the one that makes the user namespace, then the container's init. `hook_state`: what hooks read, but for
    pid and status."""

    __slots__ = ("bundle", "cgroup", "config", "hook_state", "pid")

    def __init__(self, config: Config, bundle: str, cgroup: Cgroup, hook_state: dict[str, Any]) -> None:
        self.config = config
        self.bundle = bundle
        self.cgroup = cgroup
        self.hook_state = hook_state
        self.pid = 0


class ChildContext:
    """`fds` come from the parent; `root` is the container's root directory (O_PATH); the rest is handed from step to step.

    own_cgroups: /proc/self/cgroup as it was before this process got a cgroup namespace, where it has one; in it every cgroup is `/`.

    through_stub: this process runs from the host's own Python and must not be the one that executes the program, see process/stub.py.
    """

    __slots__ = (
        "_heard",
        "bundle",
        "channel",
        "config",
        "created",
        "environment",
        "fds",
        "gate",
        "hook_state",
        "mask_directory",
        "mask_file",
        "own_cgroups",
        "parent_attaches",
        "program",
        "root",
        "rootfs",
        "seccomp",
        "stub",
        "terminal",
        "through_stub",
    )

    def __init__(self, config: Config, bundle: str, rootfs: str, channel: Channel, hook_state: dict[str, Any]) -> None:
        self.config = config
        self.bundle = bundle
        self.rootfs = rootfs
        self.channel = channel
        self.hook_state = hook_state
        self.fds: dict[tuple[str, str], int] = {}
        self.parent_attaches = False
        self.root = -1
        self.mask_file = -1
        self.mask_directory = -1
        self.terminal = -1
        self.program = ""
        self.environment: dict[str, str] = {}
        self.seccomp = b""
        self.own_cgroups = ""
        self.created = False
        self.through_stub = False
        self.stub = self.gate = -1
        self._heard: list[bytes] = []

    def expect(self, message: bytes) -> None:
        """Wait for the parent to say this, now or earlier. Without a parent there is nothing to go on for."""
        while message not in self._heard:
            try:
                received, _ = self.channel.receive()
            except (EOFError, OSError):
                os._exit(1)
            self._heard.append(received)
        self._heard.remove(message)

    def own_pid(self) -> int:
        return os.getpid()
