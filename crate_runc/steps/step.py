"""What a step is, and what the two processes that walk steps hold."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup import Cgroup
    from crate_runc.plan import Options
    from crate_runc.process.channel import Channel

    Config = dict[str, Any]


class Step:
    """One effect on the system: what it is can be printed before it is done."""

    __slots__ = ()

    def describe(self) -> str:
        """One line, the same on every machine for the same bundle."""
        raise NotImplementedError

    def needs(self) -> list[tuple[str, str]]:
        """(kind, path) of what the parent opens on the host for this step: the child finds the descriptor under that very pair."""
        return []


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
    """`fds` come from the parent; `root` is the container's root directory (O_PATH); the rest is handed from step to step."""

    __slots__ = (
        "_heard",
        "bundle",
        "channel",
        "config",
        "created",
        "environment",
        "fds",
        "hook_state",
        "mask_directory",
        "mask_file",
        "options",
        "program",
        "root",
        "rootfs",
        "terminal",
    )

    def __init__(
        self,
        config: Config,
        bundle: str,
        rootfs: str,
        options: Options,
        channel: Channel,
        fds: dict[tuple[str, str], int],
        hook_state: dict[str, Any],
    ) -> None:
        self.config = config
        self.bundle = bundle
        self.rootfs = rootfs
        self.options = options
        self.channel = channel
        self.fds = fds
        self.hook_state = hook_state
        self.root = -1
        self.mask_file = -1
        self.mask_directory = -1
        self.terminal = -1
        self.program = ""
        self.environment: dict[str, str] = {}
        self.created = False
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
