"""root and linux.rootfsPropagation: the container's root becomes a mount of its own, then the root directory, then read-only.

runtime-spec, config.md "Root"; pivot_root(2) with the same directory twice. An idmapped root is not made here.
"""

from __future__ import annotations

import errno
import os

from crate_runc.kernel import mount
from crate_runc.process import frozen
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config

PROPAGATION = {
    "shared": mount.MS_SHARED,
    "slave": mount.MS_SLAVE,
    "private": mount.MS_PRIVATE,
    "unbindable": mount.MS_UNBINDABLE,
    "rshared": mount.MS_SHARED | mount.MS_REC,
    "rslave": mount.MS_SLAVE | mount.MS_REC,
    "rprivate": mount.MS_PRIVATE | mount.MS_REC,
    "runbindable": mount.MS_UNBINDABLE | mount.MS_REC,
}


def plan_setup(config: Config) -> list[ChildStep]:
    """What is unbindable could not be bound: the root becomes so at last, and starts as what includes it, private."""
    kind = config.get("linux", {}).get("rootfsPropagation", "") or "rslave"
    kind = "rprivate" if kind.endswith("unbindable") else kind
    return [Propagation(kind), BindRoot(some_are_shared=kind not in ("rslave", "rprivate"))]


def plan_enter(config: Config, *, has_mount_namespace: bool, no_pivot: bool) -> list[ChildStep]:
    way = "chroot" if not has_mount_namespace else "move" if no_pivot else "pivot"
    steps: list[ChildStep] = [SwitchRoot(way)]
    propagation = config.get("linux", {}).get("rootfsPropagation", "")
    if propagation:
        steps.append(Propagation(propagation))
    return steps


def plan_readonly(config: Config) -> list[ChildStep]:
    return [ReadonlyRoot()] if config["root"].get("readonly", False) else []


class Propagation(ChildStep):
    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def describe(self) -> str:
        return f"make the mounts below / {self.kind}"

    def apply(self, child: ChildContext) -> None:
        mount.mount(None, "/", None, PROPAGATION[self.kind])


class BindRoot(ChildStep):
    """The clone is attached over the directory it is a clone of: what is mounted there from now on goes away with it. Its parent mount must
    not be shared, or pivot_root(2) refuses and the mounts would show on the host."""

    __slots__ = ("some_are_shared",)

    def __init__(self, *, some_are_shared: bool) -> None:
        self.some_are_shared = some_are_shared

    def describe(self) -> str:
        return "bind rootfs on itself, recursively"

    def apply(self, child: ChildContext) -> None:
        if self.some_are_shared:
            _unshare_mount_of(child.rootfs)
        mount.begin(child.rootfs)
        target = os.open(child.rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        child.root = mount.clone_tree(target, recursive=True)
        mount.attach(child.root, target)
        os.close(target)


def _unshare_mount_of(path: str) -> None:
    """The mount that holds the directory `path`, and no other: those above may be meant to be shared."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        rows = [line.split() for line in file]
    found = ["", ""]
    for row in rows:  # a later one covers an earlier one
        point = _unescape(row[4])
        if len(point) >= len(found[0]) and (path + "/").startswith(point.rstrip("/") + "/"):
            found = [point, " ".join(row[6 : row.index("-")])]
    if "shared:" in found[1]:
        mount.mount(None, found[0], None, mount.MS_PRIVATE)


def _unescape(field: str) -> str:
    """mountinfo writes space, tab, newline and backslash as three octal digits."""
    first, *rest = field.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


class SwitchRoot(ChildStep):
    __slots__ = ("way",)

    def __init__(self, way: str) -> None:
        self.way = way

    def describe(self) -> str:
        return {
            "pivot": "pivot_root into rootfs and detach the old root",
            "move": "move rootfs over / and chroot into it",
            "chroot": "chroot into rootfs",
        }[self.way]

    def apply(self, child: ChildContext) -> None:
        if self.way == "move":
            _hide_other_kernel_filesystems(child.rootfs)
        frozen.freeze()
        if self.way == "pivot":
            old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fchdir(child.root)
            mount.pivot_here()
            os.fchdir(old)
            os.close(old)
            mount.mount(
                None, ".", None, mount.MS_SLAVE | mount.MS_REC
            )  # or the unmount would reach the host through a shared mount
            mount.unmount(".")
        elif self.way == "move":
            os.fchdir(child.root)
            mount.mount(".", "/", None, mount.MS_MOVE)
            os.chroot(".")
        else:
            os.fchdir(child.root)
            os.chroot(".")
        os.chdir("/")


def _hide_other_kernel_filesystems(rootfs: str) -> None:
    """Moved over, the old root stays below ours. A user namespace in which one unmasked procfs or sysfs can be seen may mount another one, so
    the host's go away; one that this user namespace may not unmount is covered."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        lines = [line.split(" - ") for line in file]
    points = [before.split()[4] for before, after in lines if after.startswith(("proc ", "sysfs "))]
    for point in points:
        if point == rootfs or point.startswith(f"{rootfs}/"):
            continue
        try:
            mount.unmount(point)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            mount.mount("tmpfs", point, "tmpfs", mount.MS_RDONLY)


class ReadonlyRoot(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "make / read-only"

    def apply(self, child: ChildContext) -> None:
        mount.set_attributes(child.root, add=mount.ATTR_RDONLY)
