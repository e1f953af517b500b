"""mounts: every entry of the list, in its order, attached to a place that was resolved inside the root once.

runtime-spec, config.md "Mounts", with runc's extensions (type cgroup, tmpcopyup, bind by option). A bind is a detached clone that gets its
attributes before it is attached; a new filesystem is mounted with mount(2) on the descriptor. Idmapped mounts are not made here.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc import mount_options
from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.mount_options import MountOptions
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config

_PROC, _SYS = "/proc", "/sys"
_NEVER_FILES = ("proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs")


def plan(config: Config, bundle: str, *, sysfs_of_host: bool) -> list[ChildStep]:
    """All mounts but those of type cgroup, which cgroup_mounts plans. sysfs_of_host: a network namespace that is not ours forbids a new
    sysfs in our user namespace, and the host's is bound instead."""
    return [
        plan_one(entry, bundle, sysfs_of_host=sysfs_of_host)
        for entry in config.get("mounts", [])
        if entry.get("type") != "cgroup"
    ]


def plan_one(entry: dict[str, Any], bundle: str, *, sysfs_of_host: bool) -> ChildStep:
    options = mount_options.parse(entry.get("options", []))
    source, destination, kind = entry.get("source", ""), entry["destination"], entry.get("type", "")
    if options.bind or kind == "bind":
        return Bind(_from_bundle(source, bundle), destination, options)
    return NewFilesystem(kind, source, destination, options, bind_instead=kind == "sysfs" and sysfs_of_host)


def plan_readonly(config: Config) -> list[ChildStep]:
    """tmpfs and /dev are written to before they become read-only."""
    late = []
    for entry in config.get("mounts", []):
        if _late_readonly(entry.get("type", ""), entry["destination"]) and mount_options.parse(entry.get("options", [])).readonly:
            late.append(entry["destination"])
    return [ReadonlyMount(destination) for destination in late]


def _late_readonly(kind: str, destination: str) -> bool:
    return kind == "tmpfs" or os.path.normpath(destination) == "/dev"


def _from_bundle(source: str, bundle: str) -> str:
    return source if source.startswith("/") else f"{bundle}/{source}"


class Bind(ChildStep):
    __slots__ = ("destination", "options", "source")

    def __init__(self, source: str, destination: str, options: MountOptions) -> None:
        self.source = source
        self.destination = destination
        self.options = options

    def describe(self) -> str:
        return f"{'rbind' if self.options.recursive else 'bind'} {self.source} on {self.destination}{self.options.describe()}"

    def apply(self, child: ChildContext) -> None:
        tree = _clone_source(self.source, self.destination, recursive=self.options.recursive)
        try:
            bind_tree(child, tree, self.destination, self.options)
        finally:
            os.close(tree)


def bind_tree(child: ChildContext, tree: int, destination: str, options: MountOptions) -> None:
    """Set the attributes of a detached tree and attach it to `destination`, made as a directory or a file as the tree's root is one."""
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    try:
        target = open_target(child, destination, is_directory=is_directory)
    except OSError as error:
        raise _named(destination, destination, error) from None
    try:
        if options.add or options.clear:
            mount.set_attributes(tree, add=options.add, clear=options.clear)
        if options.add_recursive or options.clear_recursive:
            mount.set_attributes(tree, add=options.add_recursive, clear=options.clear_recursive, recursive=True)
        mount.attach(tree, target)
    except OSError as error:
        raise _named(destination, destination, error) from None
    finally:
        os.close(target)
    for flag in options.propagation:
        mount.mount_on(tree, None, None, flag)


def _clone_source(source: str, destination: str, *, recursive: bool) -> int:
    try:
        return mount.clone_tree(AT_FDCWD, source, recursive=recursive)
    except OSError as error:
        text = f'error mounting "{source}" to rootfs at "{destination}": stat {source}: {(error.strerror or "").lower()}'
        raise StepError("mount", error.errno or 0, text) from None


class NewFilesystem(ChildStep):
    __slots__ = ("bind_instead", "destination", "kind", "options", "source")

    def __init__(self, kind: str, source: str, destination: str, options: MountOptions, *, bind_instead: bool) -> None:
        self.kind = kind
        self.source = source
        self.destination = destination
        self.options = options
        self.bind_instead = bind_instead

    def describe(self) -> str:
        if self.bind_instead:
            return f"rbind the host's /sys on {self.destination}{self.options.describe()}"
        return f"mount {self.kind} on {self.destination}{self.options.describe()}"

    def apply(self, child: ChildContext) -> None:
        if self.bind_instead:
            _bind_host(child, _SYS, self.destination, self.options)
            return
        try:
            text = self.options.text if self.kind != "tmpfs" else self._with_mode(child)
            target = open_target(child, self.destination, is_directory=True)
        except OSError as error:
            raise _named(self.source, self.destination, error) from None
        try:
            self._mount(child, target, text)
        except OSError as error:
            if self.kind == "sysfs" and error.errno == errno.EPERM:
                _bind_host(child, _SYS, self.destination, self.options)
                return
            raise _named(self.source, self.destination, error) from None
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
        copied = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target) if self.options.copy_up else -1
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

                copy_tree.copy_tree(copied, mounted)
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


def open_target(child: ChildContext, destination: str, *, is_directory: bool) -> int:
    """/proc and /sys must be real directories right below the root: a link there would move everything that is masked later (CVE-2019-19921)."""
    top = os.path.normpath("/" + destination.lstrip("/"))  # two slashes at the start would stay
    if top == "/":
        raise StepError("mount", errno.EINVAL, f"mount on {destination}: the root itself cannot be a mount destination")
    if top in (_PROC, _SYS):
        return _open_plain_directory(child.root, top[1:])
    make = path.make_directory_in_root if is_directory else path.make_file_in_root
    return make(child.root, destination)


def _open_plain_directory(root: int, name: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=root)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=root)
        return os.open(name, flags, dir_fd=root)
    except OSError as error:
        raise StepError("mount", error.errno or 0, f"mount on /{name}: must be a directory, not a link or a file") from None


def _bind_host(child: ChildContext, source: str, destination: str, options: MountOptions) -> None:
    tree = _clone_source(source, destination, recursive=True)
    try:
        bind_tree(child, tree, destination, options)
    finally:
        os.close(tree)


def _named(source: str, destination: str, error: OSError) -> StepError:
    text = f'error mounting "{source}" to rootfs at "{destination}": {(error.strerror or str(error)).lower()}'
    return StepError("mount", error.errno or 0, text)
