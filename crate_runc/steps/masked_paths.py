"""linux.maskedPaths and readonlyPaths: hide parts of /proc and /sys, or make them read-only.

A masked file gets the host's /dev/null, opened and checked before the container's tree could offer another (CVE-2025-31133), a masked
directory one empty read-only tmpfs that all share. A path that does not exist is skipped.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.mounts.point import place_of, tree_key
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config

_NULL = (1, 3)


def plan_setup(config: Config) -> list[ChildStep]:
    return [OpenMasks()] if config.get("linux", {}).get("maskedPaths") else []


def plan_enter(config: Config) -> list[ChildStep]:
    linux = config.get("linux", {})
    steps: list[ChildStep] = [ReadonlyPath(name) for name in linux.get("readonlyPaths", [])]
    return [*steps, *(MaskPath(name) for name in linux.get("maskedPaths", []))]


class OpenMasks(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "open the host's /dev/null and an empty read-only tmpfs, for masks"

    def apply(self, child: ChildContext) -> None:
        child.mask_file = mount.clone_tree(AT_FDCWD, "/dev/null")
        status = os.fstat(child.mask_file)
        if not stat.S_ISCHR(status.st_mode) or (os.major(status.st_rdev), os.minor(status.st_rdev)) != _NULL:
            raise StepError("mask paths", errno.EINVAL, "mask paths: the host's /dev/null is not the null device")
        attributes = mount.ATTR_RDONLY | mount.ATTR_NOSUID | mount.ATTR_NODEV | mount.ATTR_NOEXEC
        child.mask_directory = mount.new_filesystem("tmpfs", {"nr_inodes": "1", "mode": "0555"}, attributes, source="tmpfs")


class MaskPath(ChildStep):
    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"mask {self.path}"

    def apply(self, child: ChildContext) -> None:
        target = _open(child, self.path)
        if target is None:
            return
        is_directory = stat.S_ISDIR(os.fstat(target).st_mode)
        source = child.mask_directory if is_directory else child.mask_file
        try:
            mount.attach(source, target)
        except OSError as error:
            raise StepError("mask paths", error.errno or 0, f"mask {self.path}: {(error.strerror or '').lower()}") from None
        finally:
            os.close(target)
        # Only what is attached can be cloned again: the next mask is a clone of this one.
        following = mount.clone_tree(source)
        os.close(source)
        if is_directory:
            child.mask_directory = following
        else:
            child.mask_file = following


class ReadonlyPath(ChildStep):
    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make {self.path} read-only"

    def apply(self, child: ChildContext) -> None:
        target = _open(child, self.path)
        if target is None:
            return
        tree = mount.clone_tree(target, recursive=True)
        try:
            mount.set_attributes(tree, add=mount.ATTR_RDONLY, recursive=True)
            mount.attach(tree, target)
        except OSError as error:
            raise StepError(
                "read-only paths", error.errno or 0, f"make {self.path} read-only: {(error.strerror or '').lower()}"
            ) from None
        finally:
            os.close(tree)
            os.close(target)


def _open(child: ChildContext, name: str) -> int | None:
    place = place_of(name)
    top, _, below = place[1:].partition("/")
    root = child.fds.get(tree_key(f"/{top}"), -1)
    try:
        return path.open_in_root(child.root, place) if root < 0 else path.open_in_root(root, below)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise
