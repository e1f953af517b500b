"""linux.namespaces: join by path or make anew, the user namespace first and the cgroup namespace last (namespaces(7)).

runtime-spec, config-linux.md "Namespaces". Time namespaces are in time_namespace.py.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import interface, namespaces, prctl
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext

FLAG_OF = {
    "user": namespaces.NEWUSER,
    "pid": namespaces.NEWPID,
    "mount": namespaces.NEWNS,
    "network": namespaces.NEWNET,
    "ipc": namespaces.NEWIPC,
    "uts": namespaces.NEWUTS,
    "cgroup": namespaces.NEWCGROUP,
}
_TOGETHER = ("mount", "network", "ipc", "uts")  # made by one unshare(2), after the pid namespace has its first process


def plan_begin(wanted: dict[str, str], early: list[str]) -> list[ChildStep]:
    """What the child does before it forks the container's init. early: what joins_before_user says."""
    return [
        *(Join(kind, wanted[kind]) for kind in early if kind in FLAG_OF),
        *(_step(kind, wanted[kind]) for kind in ("user", "pid") if kind in wanted and kind not in early),
    ]


def plan_setup(wanted: dict[str, str], early: list[str]) -> list[ChildStep]:
    steps: list[ChildStep] = [Join(kind, wanted[kind]) for kind in _TOGETHER if wanted.get(kind) and kind not in early]
    new = [kind for kind in _TOGETHER if wanted.get(kind) == ""]
    if new:
        steps.append(Unshare(new))
    return [*steps, Loopback()] if "network" in new else steps


def plan_cgroup(wanted: dict[str, str], early: list[str]) -> list[ChildStep]:
    """After the child is in its cgroup: that cgroup becomes the root of the namespace."""
    return [_step("cgroup", wanted["cgroup"])] if "cgroup" in wanted and "cgroup" not in early else []


def _step(kind: str, path: str) -> ChildStep:
    return Join(kind, path) if path else Unshare([kind])


class Unshare(ChildStep):
    __slots__ = ("kinds",)

    def __init__(self, kinds: list[str]) -> None:
        self.kinds = kinds

    def describe(self) -> str:
        return f"make a new namespace of each kind: {' '.join(self.kinds)}"

    def apply(self, child: ChildContext) -> None:
        if "cgroup" in self.kinds:
            _note_cgroups(child)
        flags = 0
        for kind in self.kinds:
            flags |= FLAG_OF[kind]
        namespaces.unshare(flags)


class Loopback(ChildStep):
    """A new network namespace has nothing but this, and it is down."""

    __slots__ = ()

    def describe(self) -> str:
        return "bring up the loopback interface"

    def apply(self, child: ChildContext) -> None:
        interface.bring_up("lo")


class Join(ChildStep):
    __slots__ = ("kind", "path")

    def __init__(self, kind: str, path: str) -> None:
        self.kind = kind
        self.path = path

    def describe(self) -> str:
        return f"join the {self.kind} namespace {self.path}"

    def apply(self, child: ChildContext) -> None:
        if self.kind == "cgroup":
            _note_cgroups(child)
        fd = child.fds["namespace", self.path]
        try:
            namespaces.setns(fd, FLAG_OF[self.kind])
        except OSError as error:
            if error.errno != errno.EINVAL or namespaces.kind_of(fd) == FLAG_OF[self.kind]:
                raise
            text = f"join the {self.kind} namespace {self.path}: it is no {self.kind} namespace"
            raise StepError(self.describe(), errno.EINVAL, text) from None
        if self.kind == "user":
            become_root()


def _note_cgroups(child: ChildContext) -> None:
    """In the namespace the kernel does not tell any more where on the host the cgroup is, but a mount may need to know."""
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        child.own_cgroups = file.read()


def become_root() -> None:
    """In a user namespace whose map is written: be its user 0 where it has one, in no group of the host's."""
    prctl.set_dumpable(False)
    for change in (_drop_groups, _become_group, _become_user):
        try:
            change()
        except PermissionError:  # setgroups is denied in a namespace that maps only its owner
            continue
        except OSError as error:
            if error.errno != 22:  # EINVAL: 0 is not mapped
                raise


def _drop_groups() -> None:
    os.setgroups([])


def _become_group() -> None:
    os.setresgid(0, 0, 0)


def _become_user() -> None:
    os.setresuid(0, 0, 0)
