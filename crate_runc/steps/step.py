"""What a step is, and what the two processes that walk steps hold."""

from __future__ import annotations

import os

from crate_runc.errors import StepError
from crate_runc.kernel.calls import UNEXPECTED, Buffer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup import Cgroup
    from crate_runc.kernel.calls import CallError, Item
    from crate_runc.process.channel import Channel

    Config = dict[str, Any]


PASSWD_LIMIT = 1 << 20


def namespace_paths(config: Config) -> dict[str, str]:
    """Type of each namespace the container has of its own or joins, and the path it joins ("": made anew)."""
    return {entry["type"]: entry.get("path", "") for entry in config.get("linux", {}).get("namespaces", [])}


def joins_before_user(wanted: dict[str, str], euid: int) -> list[str]:
    """The namespaces that are joined before the user namespace is made: they belong to another, over which nobody has a right from within."""
    if euid != 0 or wanted.get("user") != "":
        return []
    return [kind for kind in ("network", "ipc", "uts", "cgroup", "time", "pid") if wanted.get(kind)]


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


class LaunchStep(ChildStep):
    """A step of `launch` (or on the way to it) that both create and exec take: its effect is a list of system calls, which create executes where it
    stands and exec gives to the stub (process/stub.py)."""

    __slots__ = ()

    def calls(self, launch: LaunchContext) -> list[Item]:
        """May look at what is the same in both processes, descriptors 0 to 2 for instance, and at no result of its own calls. Raises StepError."""
        raise NotImplementedError

    def apply(self, child: ChildContext) -> None:
        from crate_runc.kernel import calls, perform

        items = self.calls(child)
        if child.deferred is not None:
            for item in items:
                if isinstance(item, calls.Call):
                    item.message = item.message or self.describe()
            child.deferred += items
            return
        try:
            perform.perform(items)
        except calls.CallError as error:
            raise self.failure(error) from None

    def failure(self, error: CallError) -> StepError:
        words = os.strerror(error.errno).lower() if error.errno != UNEXPECTED else "the kernel did not do what was asked"
        if error.errno == 38:  # ENOSYS: a step makes many calls
            words += f": {error.call.name}(2)"
        number = error.errno if error.errno != UNEXPECTED else 0
        return StepError(self.describe(), number, f"{error.call.message or self.describe()}: {error.call.reason or words}")


class ParentContext:
    """`pid`: the child, first the one that makes the user namespace, then the container's init. `hook_state`: what hooks read, but for
    pid and status. `in_cgroup`: the child came through the cgroup's entrance; `in_unified`: and was born in the unified one."""

    __slots__ = ("bundle", "cgroup", "config", "hook_state", "in_cgroup", "in_unified", "pid")

    def __init__(self, config: Config, bundle: str, cgroup: Cgroup, hook_state: dict[str, Any]) -> None:
        self.config = config
        self.bundle = bundle
        self.cgroup = cgroup
        self.hook_state = hook_state
        self.pid = 0
        self.in_cgroup = self.in_unified = False


class LaunchContext:
    """What the steps of `launch` hand to each other, in memory of the process that they are executed in: `terminal`, the descriptor of its slave;
    `program`, the address of the path that is executed, one of `candidates`; `path`, that path as text, where this process knows it. seccomp: the
    compiled filter; procfs: the directory /proc/thread-self/attr of a procfs with nothing mounted on it, or -1."""

    __slots__ = ("candidates", "environment", "path", "procfs", "program", "seccomp", "terminal")

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}
        self.program = Buffer()
        self.candidates: list[Buffer] = []
        self.path = ""
        self.procfs = -1
        self.seccomp = b""
        self.terminal: Buffer | None = None

    def own_pid(self) -> int:
        """As the program will see it."""
        raise NotImplementedError

    def held_capabilities(self) -> int:
        """The permitted set of the process that becomes the program, as a mask."""
        raise NotImplementedError

    def send_terminal(self, master: Buffer) -> list[Item]:
        """Calls that give the descriptor in `master` to the parent."""
        raise NotImplementedError

    def send_listener(self, listener: Buffer) -> list[Item]:
        """Calls that let the parent take the descriptor in `listener` out of this process, and wait until it has."""
        raise NotImplementedError

    def passwd(self) -> bytes:
        """/etc/passwd of the container, if it is an ordinary file and not too long."""
        raise NotImplementedError


class ChildContext(LaunchContext):
    """`fds` come from the parent; `root` is the container's root directory (O_PATH); the rest is handed from step to step.

    own_cgroups: /proc/self/cgroup as it was before this process got a cgroup namespace, where it has one; in it every cgroup is `/`.

    through_stub: this process runs from the host's own Python and must not be the one that executes the program, see process/stub.py. deferred: from
    when on steps are calls of the stub, those calls; kept: the descriptors that stay open in it.
    """

    __slots__ = (
        "_heard",
        "bundle",
        "channel",
        "config",
        "created",
        "deferred",
        "fds",
        "hook_state",
        "kept",
        "mask_directory",
        "mask_file",
        "own_cgroups",
        "parent_attaches",
        "root",
        "rootfs",
        "through_stub",
    )

    def __init__(self, config: Config, bundle: str, rootfs: str, channel: Channel, hook_state: dict[str, Any]) -> None:
        super().__init__()
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
        self.own_cgroups = ""
        self.created = False
        self.through_stub = False
        self.deferred: list[Item] | None = None
        self.kept: list[int] = []
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

    def held_capabilities(self) -> int:
        from crate_runc.kernel import capability

        return capability.get()[1]

    def passwd(self) -> bytes:
        from crate_runc.kernel import path

        return path.read_small_file_in_root(self.root, "/etc/passwd", PASSWD_LIMIT) or b""
