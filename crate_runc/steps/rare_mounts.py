"""mounts[] with options that few ask for: remount, copy-symlink and dest-nofollow; and linux.mountLabel, which needs SELinux.

mount(8) for the first, crun(1) for the next two. A remount changes a mount that is there: nothing is made for it.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError, reason
from crate_runc.kernel import mount, path
from crate_runc.mounts.point import attach, check_name, clone_source, named, open_target
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.mounts.options import MountOptions
    from crate_runc.steps.step import ChildContext


def plan_one(entry: dict[str, Any], options: MountOptions, source: str, index: int) -> ChildStep:
    key = ("source", str(index))
    if options.remount:
        return Remount(entry.get("type", ""), source, entry["destination"], options, key)
    if "copy-symlink" in options.extensions:
        return CopyLink(entry.get("type", ""), source, entry["destination"], options, key)
    return OverLink(entry.get("type", ""), source, entry["destination"], options, key)


class NeedLabels(ChildStep):
    """The label itself is an option of each new file system."""

    __slots__ = ("label",)

    def __init__(self, label: str) -> None:
        self.label = label

    def describe(self) -> str:
        return f"see that the host has SELinux, for the label {self.label} of new file systems"

    def apply(self, child: ChildContext) -> None:
        if '"' in self.label:  # it would end the option, and what follows be another
            raise StepError("mount label", errno.EINVAL, "linux.mountLabel: a label has no quotation marks")
        if not os.path.exists("/sys/fs/selinux/enforce"):
            raise StepError("mount label", errno.ENOTSUP, "linux.mountLabel: SELinux is disabled or not supported on this host")


class _RareMount(ChildStep):
    __slots__ = ("destination", "key", "kind", "options", "source")

    def __init__(self, kind: str, source: str, destination: str, options: MountOptions, key: tuple[str, str]) -> None:
        self.kind = kind
        self.source = source
        self.destination = destination
        self.options = options
        self.key = key

    def apply(self, child: ChildContext) -> None:
        try:
            self._apply(child)
        except StepError:
            raise
        except OSError as error:
            raise named(self.source, self.destination, error) from None

    def _apply(self, child: ChildContext) -> None:
        raise NotImplementedError

    def _clone(self, child: ChildContext, *, follow: bool) -> int:
        tree = child.fds.get(self.key, -1)
        return tree if tree >= 0 else clone_source(self.source, self.destination, recursive=self.options.recursive, follow=follow)


class Remount(_RareMount):
    """With `bind`, or of a mount that has no type, the attributes of the mount; else those of its file system."""

    __slots__ = ()

    def describe(self) -> str:
        return f"remount {self.destination}{self.options.describe()}"

    def _apply(self, child: ChildContext) -> None:
        target = path.open_in_root(child.root, self.destination)
        options = self.options
        try:
            if options.bind or self.kind in ("", "bind", "none"):
                mount.set_attributes(target, add=options.add, clear=options.clear)
            else:
                mount.mount_on(target, self.source, self.kind, options.flags, options.text)
            if options.add_recursive or options.clear_recursive:
                mount.set_attributes(target, add=options.add_recursive, clear=options.clear_recursive, recursive=True)
            for flag in options.propagation:
                mount.mount_on(target, None, None, flag)
        finally:
            os.close(target)


class CopyLink(_RareMount):
    """A source that is a symbolic link becomes the same link in the container; any other is bound."""

    __slots__ = ()

    def describe(self) -> str:
        return f"copy the link {self.source} to {self.destination}, or bind what it is"

    def _apply(self, child: ChildContext) -> None:
        try:
            target = os.readlink(self.source)
        except OSError as error:
            if error.errno != errno.EINVAL:  # EINVAL: no link
                text = (
                    f'error mounting "{self.source}" to rootfs at "{self.destination}": readlink {self.source}: {reason(error)}'
                )
                raise StepError("mount", error.errno or 0, text) from None
            tree = self._clone(child, follow=True)
            _bind(child, tree, self)
            os.close(tree)
            return
        parent, _, name = self.destination.rstrip("/").rpartition("/")
        directory = path.make_directory_in_root(child.root, parent)
        try:
            os.symlink(target, name, dir_fd=directory)
        except FileExistsError:
            if _link(name, directory) != target:
                raise
        finally:
            os.close(directory)


class OverLink(_RareMount):
    """Of dest-nofollow: what is at the destination is covered itself, even where it is a link."""

    __slots__ = ()

    def describe(self) -> str:
        return f"mount {self.source} over {self.destination} itself{self.options.describe()}"

    def _apply(self, child: ChildContext) -> None:
        tree = self._clone(child, follow="src-nofollow" not in self.options.extensions)
        parent, _, name = self.destination.rstrip("/").rpartition("/")
        directory = path.make_directory_in_root(child.root, parent)
        try:
            if _link(name, directory) is None:
                _bind(child, tree, self)
                return
            check_name(child.root, directory, name)
            target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            attach(tree, target, self.options)
            os.close(target)
        finally:
            os.close(directory)
            os.close(tree)


def _link(name: str, directory: int) -> str | None:
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError:
        return None


def _bind(child: ChildContext, tree: int, step: _RareMount) -> None:
    target = open_target(child, step.destination, is_directory=stat.S_ISDIR(os.fstat(tree).st_mode))
    try:
        attach(tree, target, step.options)
    finally:
        os.close(target)
