"""mounts[] of type cgroup: the container's own cgroup at /sys/fs/cgroup, in the layout the host has (cgroups(7)).

With a cgroup namespace a new mount shows just that cgroup; without, the cgroup's directory is bound. v1 and hybrid hosts get a tmpfs with a
mount for each hierarchy and the links that name co-mounted controllers.
"""

from __future__ import annotations

import errno
import os

from crate_runc import mount_options
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.mount_options import MountOptions
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
        target = path.make_directory_in_root(child.root, self.destination)
        try:
            if self.has_namespace:
                try:
                    mount.mount_on(target, "cgroup", "cgroup2", self.options.flags, self.options.text)
                    return
                except OSError as error:
                    if error.errno not in (errno.EPERM, errno.EBUSY):
                        raise
            # EBUSY: a recursive bind of the host's /sys has put the same file system there
            _bind(_ROOT + _own_paths(child)[""], target, self.options)
        finally:
            os.close(target)


class SeveralCgroups(_CgroupMount):
    __slots__ = ()

    def apply(self, child: ChildContext) -> None:
        target = path.make_directory_in_root(child.root, self.destination)
        mount.mount_on(target, "tmpfs", "tmpfs", self.options.flags & ~mount.MS_RDONLY, "mode=755")
        os.close(target)
        top = path.open_in_root(child.root, self.destination, os.O_PATH | os.O_DIRECTORY)
        own = _own_paths(child)
        for name, controllers in _hierarchies(own):
            os.mkdir(name, 0o755, dir_fd=top)
            place = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
            if self.has_namespace:
                self._mount(place, controllers)
            else:
                _bind(f"{_ROOT}/{name}{own.get(controllers, '/')}", place, self.options)
            os.close(place)
            for controller in controllers.split(","):
                if "," in controllers and controller != name:
                    os.symlink(name, controller, dir_fd=top)
        if self.options.readonly:
            mount.set_attributes(top, add=mount.ATTR_RDONLY)
        os.close(top)

    def _mount(self, place: int, controllers: str) -> None:
        text = controllers.replace("name=systemd", "none,name=systemd")
        mount.mount_on(place, "cgroup", "cgroup", self.options.flags | _SAFE, text)


def _bind(source: str, target: int, options: MountOptions) -> None:
    tree = mount.clone_tree(AT_FDCWD, source, recursive=True)
    mount.set_attributes(
        tree, add=options.add | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC, clear=options.clear & 0x70
    )
    mount.attach(tree, target)
    os.close(tree)


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


def _hierarchies(own: dict[str, str]) -> list[tuple[str, str]]:
    """(directory below /sys/fs/cgroup, controllers as in /proc/self/cgroup) of each v1 hierarchy. A hybrid host's unified one controls
    nothing, and runc leaves it out as well."""
    found = []
    known = {line: set(line.split(",")) for line in own if line}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            point, (kind, _, options) = before.split()[4], after.split()
            name = point.removeprefix(_ROOT + "/")
            if kind == "cgroup" and point != name and "/" not in name:
                words = set(options.split(","))
                found += [(name, controllers) for controllers, members in known.items() if members <= words]
    return found
