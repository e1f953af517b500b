"""mounts: every entry of the list, in its order, attached to a place that was resolved inside the root once.

runtime-spec, config.md "Mounts", with runc's extensions (type cgroup, tmpcopyup, bind by option). A bind is a detached clone that gets its
attributes before it is attached, by the parent where it is idmapped; a new filesystem is mounted with mount(2) on the descriptor.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.mounts import options as mount_options
from crate_runc.mounts.options import MountOptions
from crate_runc.mounts.point import bind_tree, clone_source, keep_kernel_tree, named, open_target, place_of
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config

_KERNEL_TREES = {"proc": ("/proc", mount.PROC_MAGIC), "sysfs": ("/sys", mount.SYSFS_MAGIC)}
_WITHOUT_LABELS = ("proc", "sysfs", "cgroup2")  # SELinux labels their files by itself


def plan_one(
    entry: dict[str, Any], options: MountOptions, bundle: str, *, sysfs_of_host: bool, own_pids: bool, label: str, index: int
) -> ChildStep:
    """Of a mount that is not of type cgroup. sysfs_of_host: a network namespace that is not ours forbids a new sysfs in our user namespace,
    and the host's is bound instead. own_pids: the pid namespace is a new one. label: linux.mountLabel; `index` in mounts
    names the tree that the parent may have cloned."""
    source, destination, kind = entry.get("source", ""), entry["destination"], entry.get("type", "")
    if options.bind or kind == "bind":
        ids = "" if "uidMappings" not in entry and "gidMappings" not in entry else _ids(entry)
        return Bind(source_in(bundle, source), destination, options, ("source", str(index)), ids)
    if label and kind not in _WITHOUT_LABELS:
        options.text = f'{options.text},context="{label}"'.lstrip(",")
    bind = "never"
    if kind == "sysfs":
        bind = "always" if sysfs_of_host else "if denied"
    elif kind == "proc" and not own_pids:
        bind = "if denied"
    return NewFilesystem(kind, source, destination, options, bind=bind)


def plan_readonly(config: Config) -> list[ChildStep]:
    """tmpfs and /dev are written to before they become read-only."""
    late = []
    for entry in config.get("mounts", []):
        if _late_readonly(entry.get("type", ""), entry["destination"]) and mount_options.parse(entry.get("options", [])).readonly:
            late.append(entry["destination"])
    return [ReadonlyMount(destination) for destination in late]


def _late_readonly(kind: str, destination: str) -> bool:
    return kind == "tmpfs" or os.path.normpath(destination) == "/dev"


def _ids(entry: dict[str, Any]) -> str:
    sides = []
    for name, side in (("users", "uidMappings"), ("groups", "gidMappings")):
        ranges = ", ".join(f"{one['containerID']}→{one['hostID']}×{one['size']}" for one in entry.get(side, ()))
        sides.append(f"; {name} on disk as seen: {ranges}")
    return "".join(sides)


def source_in(bundle: str, source: str) -> str:
    return source if source.startswith("/") else f"{bundle}/{source}"


class Bind(ChildStep):
    """`key`: of the tree in child.fds where the parent has cloned it: what root can reach and a user namespace cannot, or an idmapped one."""

    __slots__ = ("destination", "ids", "key", "options", "source")

    def __init__(self, source: str, destination: str, options: MountOptions, key: tuple[str, str], ids: str) -> None:
        self.source = source
        self.destination = destination
        self.options = options
        self.key = key
        self.ids = ids

    def describe(self) -> str:
        verb = "rbind" if self.options.recursive else "bind"
        return f"{verb} {self.source} on {self.destination}{self.options.describe()}{self.ids}"

    def apply(self, child: ChildContext) -> None:
        tree = child.fds.get(self.key, -1)
        if tree < 0:
            follow = "src-nofollow" not in self.options.extensions
            tree = clone_source(self.source, self.destination, recursive=self.options.recursive, follow=follow)
        try:
            bind_tree(child, tree, self.source, self.destination, self.options)
        finally:
            os.close(tree)


class NewFilesystem(ChildStep):
    """`bind`: whether the host's /sys, or /proc where it shows the same processes, is bound instead: "always", "if denied", "never"."""

    __slots__ = ("bind", "destination", "kind", "options", "source")

    def __init__(self, kind: str, source: str, destination: str, options: MountOptions, *, bind: str) -> None:
        self.kind = kind
        self.source = source
        self.destination = destination
        self.options = options
        self.bind = bind

    def describe(self) -> str:
        if self.bind == "always":
            return f"rbind the host's /sys on {self.destination}{self.options.describe()}"
        return f"mount {self.kind} on {self.destination}{self.options.describe()}"

    def apply(self, child: ChildContext) -> None:
        if self.bind == "always":
            _bind_host(child, self.kind, self.destination, self.options)
            return
        try:
            text = self.options.text if self.kind != "tmpfs" else self._with_mode(child)
            target = open_target(child, self.destination, is_directory=True)
        except OSError as error:
            raise named(self.source, self.destination, error) from None
        try:
            if place_of(self.destination) == "/proc" and self.kind != "proc":
                raise StepError("mount", errno.EINVAL, f'"{self.destination}" cannot be mounted because it is not of type proc')
            self._mount(child, target, text)
            if _KERNEL_TREES.get(self.kind, ("",))[0] == place_of(self.destination):
                keep_kernel_tree(child, *_KERNEL_TREES[self.kind])
        except OSError as error:
            if self.bind == "if denied" and error.errno == errno.EPERM:
                _bind_host(child, self.kind, self.destination, self.options)
                return
            if self.kind == "proc" and error.errno == errno.EPERM:
                error.strerror = f"{error.strerror}: a user namespace whose own /proc is partly hidden may not mount another"
            raise named(self.source, self.destination, error) from None
        finally:
            os.close(target)

    def _with_mode(self, child: ChildContext) -> str:
        """A tmpfs takes over the mode of the directory that it covers; where there is none, the kernel's 1777 stays."""
        if "mode=" in self.options.text:
            return self.options.text
        try:
            fd = path.open_in_root(child.root, self.destination, os.O_PATH | os.O_DIRECTORY)
        except OSError:
            return self.options.text
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.close(fd)
        return f"{self.options.text},mode={mode:04o}".lstrip(",")

    def _mount(self, child: ChildContext, target: int, text: str) -> None:
        flags = self.options.flags
        if _late_readonly(self.kind, self.destination):
            flags &= ~mount.MS_RDONLY
        copied = (
            os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
            if "tmpcopyup" in self.options.extensions
            else -1
        )
        try:
            mount.mount_on(target, self.source or self.kind, self.kind, flags, text)
        except OSError as error:
            if self.kind != "devpts" or error.errno != errno.EINVAL or "gid=5" not in text:
                raise
            # A user namespace with a single id has no group 5.
            text = ",".join(part for part in text.split(",") if part != "gid=5")
            mount.mount_on(target, self.source or self.kind, self.kind, flags, text)
        self._finish(child, copied)

    def _finish(self, child: ChildContext, copied: int) -> None:
        """`target` lies below the new mount now: its root is found by name once more, and only compared and copied into."""
        if copied < 0 and not self.options.propagation and not self.options.add_recursive | self.options.clear_recursive:
            return
        mounted = path.open_in_root(child.root, self.destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if copied >= 0:
                from crate_runc.kernel import copy_tree

                copy_tree.copy_tree(copied, mounted, os.path.normpath("/" + self.destination))
                if not {"uid=", "gid="} & {word[:4] for word in self.options.words}:
                    copy_tree.copy_owner(copied, mounted)
                os.close(copied)
            if self.options.add_recursive | self.options.clear_recursive:
                mount.set_attributes(mounted, add=self.options.add_recursive, clear=self.options.clear_recursive, recursive=True)
            for flag in self.options.propagation:
                mount.mount_on(mounted, None, None, flag)
        finally:
            os.close(mounted)


class ReadonlyMount(ChildStep):
    __slots__ = ("destination",)

    def __init__(self, destination: str) -> None:
        self.destination = destination

    def describe(self) -> str:
        return f"make {self.destination} read-only"

    def apply(self, child: ChildContext) -> None:
        fd = path.open_in_root(child.root, self.destination)
        mount.set_attributes(fd, add=mount.ATTR_RDONLY)
        os.close(fd)


def _bind_host(child: ChildContext, kind: str, destination: str, options: MountOptions) -> None:
    """What is meant for the new file system is true for all that comes along with the host's: its control groups, too (CVE-2023-25809)."""
    source = "/sys" if kind == "sysfs" else "/proc"
    tree = clone_source(source, destination, recursive=True)
    try:
        if options.add:
            mount.set_attributes(tree, add=options.add, clear=options.clear & mount.ATTR_ATIME_MASK, recursive=True)
        bind_tree(child, tree, source, destination, options)
    finally:
        os.close(tree)
