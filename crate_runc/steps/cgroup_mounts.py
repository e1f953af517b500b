"""mounts[] of type cgroup: the container's own cgroup at /sys/fs/cgroup, in the layout the host has (cgroups(7)).

With a cgroup namespace a new mount shows just that cgroup; without, the cgroup's directory is bound. v1 and hybrid hosts get a tmpfs with a
mount for each hierarchy and the links that name co-mounted controllers.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.mounts import options as mount_options
from crate_runc.mounts.options import MountOptions
from crate_runc.mounts.point import open_target
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext

_ROOT = "/sys/fs/cgroup"
_SAFE = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC


def plan_one(entry: dict[str, Any], mode: str, *, has_namespace: bool) -> ChildStep:
    options = mount_options.parse(entry.get("options", []))
    if mode == "v2":
        return UnifiedCgroup(entry["destination"], options, has_namespace=has_namespace)
    return SeveralCgroups(entry["destination"], options, has_namespace=has_namespace)


class _CgroupMount(ChildStep):
    __slots__ = ("destination", "has_namespace", "options")

    def __init__(self, destination: str, options: MountOptions, *, has_namespace: bool) -> None:
        self.destination = destination
        self.options = options
        self.has_namespace = has_namespace

    def describe(self) -> str:
        way = "mount" if self.has_namespace else "bind"
        return f"{way} the container's cgroup on {self.destination}{self.options.describe()}"


class UnifiedCgroup(_CgroupMount):
    __slots__ = ()

    def apply(self, child: ChildContext) -> None:
        target = open_target(child, self.destination, is_directory=True)
        try:
            if not self.has_namespace or not _mounted(target, "cgroup2", self.options.flags, self.options.text):
                # a recursive bind of the host's /sys may have put the same file system there
                own = _own_paths(child).get("")
                if own is None:
                    raise StepError(
                        "mount", errno.ENODEV, f"mount a cgroup on {self.destination}: this host has no cgroup hierarchy"
                    )
                _bind(_below(_ROOT, _root_of_unified(), own), target, self.options)
        finally:
            os.close(target)
        if self.options.propagation or self.options.add_recursive or self.options.clear_recursive:
            _finish(child, self.destination, self.options)


class SeveralCgroups(_CgroupMount):
    __slots__ = ()

    def apply(self, child: ChildContext) -> None:
        target = open_target(child, self.destination, is_directory=True)
        mount.mount_on(target, "tmpfs", "tmpfs", self.options.flags & ~mount.MS_RDONLY, "mode=755")
        os.close(target)
        top = path.open_in_root(child.root, self.destination, os.O_PATH | os.O_DIRECTORY)
        own = _own_paths(child)
        for name, root, controllers in _hierarchies(own):
            os.mkdir(name, 0o755, dir_fd=top)
            place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            text = f"none,{controllers}" if controllers.startswith("name=") else controllers
            if not self.has_namespace or not _mounted(place, "cgroup", self.options.flags | _SAFE, text):
                _bind(_below(f"{_ROOT}/{name}", root, own[controllers]), place, self.options)
            os.close(place)
            for controller in controllers.split(","):
                if "," in controllers and controller != name:
                    os.symlink(name, controller, dir_fd=top)
        if self.options.readonly:
            mount.set_attributes(top, add=mount.ATTR_RDONLY)
        os.close(top)
        _finish(child, self.destination, self.options)


def _mounted(place: int, kind: str, flags: int, text: str) -> bool:
    """False where a user namespace may not mount the hierarchy, or it is there already: then its own part is bound."""
    try:
        mount.mount_on(place, "cgroup", kind, flags, text)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EBUSY):
            raise
        return False
    return True


def _bind(source: str, target: int, options: MountOptions) -> None:
    tree = mount.clone_tree(AT_FDCWD, source, recursive=True)
    mount.set_attributes(
        tree, add=options.add | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC, clear=options.clear & 0x70
    )
    mount.attach(tree, target)
    os.close(tree)


def _finish(child: ChildContext, destination: str, options: MountOptions) -> None:
    if not (options.propagation or options.add_recursive or options.clear_recursive):
        return
    top = path.open_in_root(child.root, destination, os.O_PATH | os.O_DIRECTORY)
    if options.add_recursive or options.clear_recursive:
        mount.set_attributes(top, add=options.add_recursive, clear=options.clear_recursive, recursive=True)
    for flag in options.propagation:
        mount.mount_on(top, None, None, flag)
    os.close(top)


def _own_paths(child: ChildContext) -> dict[str, str]:
    """Controllers of a hierarchy, as /proc/self/cgroup writes them ("" for the unified one): the own cgroup there, by its path on the host.

    In a cgroup namespace that file says `/`, and to bind that would show the container all cgroups of the host.
    """
    text = child.own_cgroups
    if not text:
        with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    lines = [line.split(":", 2) for line in text.split("\n") if line]
    return {controllers: own for _, controllers, own in lines}


def _below(point: str, root: str, own: str) -> str:
    """The directory of a cgroup, where `point` shows the hierarchy from its cgroup `root` on, as in a container without a cgroup namespace."""
    if root != "/" and (own == root or own.startswith(root + "/")):
        own = own[len(root) :]
    return f"{point}/{own.lstrip('/')}".rstrip("/")


def _root_of_unified() -> str:
    return next((root for point, root, kind, _ in _cgroup_mounts() if kind == "cgroup2" and point == _ROOT), "/")


def _hierarchies(own: dict[str, str]) -> list[tuple[str, str, str]]:
    """(directory below /sys/fs/cgroup, the cgroup that it shows, controllers as in /proc/self/cgroup) of each v1 hierarchy. A hybrid host's
    unified one controls nothing, and runc leaves it out as well."""
    found = []
    known = {line: set(line.split(",")) for line in own if line}
    for point, root, kind, options in _cgroup_mounts():
        name = point.removeprefix(_ROOT + "/")
        if kind == "cgroup" and point != name and "/" not in name:
            words = set(options.split(","))
            found += [(name, root, controllers) for controllers, members in known.items() if members <= words]
    return found


def _cgroup_mounts() -> list[tuple[str, str, str, str]]:
    """(mount point, root, type, options of the superblock) of each."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, separator, after = line.partition(" - cgroup")
            if separator:
                root, point = before.split()[3:5]
                kind, _, options = f"cgroup{after}".split()
                found.append((point, root, kind, options))
    return found
