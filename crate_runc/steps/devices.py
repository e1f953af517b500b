"""linux.devices and what every container has in /dev: six devices, the links to /proc/self/fd, and ptmx.

runtime-spec, config-linux.md "Default Devices" and runtime-linux.md "Dev symbolic links". Nodes are made with mknod(2); in a user namespace,
where that is forbidden, the host's device is bound. Everything happens relative to directories that are open (CVE-2026-41579).
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD
from crate_runc.mounts.point import open_target
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config

# name: (major, minor); character devices of mode 0666
DEFAULT = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def plan(config: Config, *, bind: bool) -> list[ChildStep]:
    """Nothing where the caller mounts a /dev of his own choice by bind."""
    if _brings_own_dev(config):
        return []
    chosen = {f"/dev/{name}": Device(f"/dev/{name}", "c", numbers, 0o666, 0, 0, bind=bind) for name, numbers in DEFAULT.items()}
    for entry in config.get("linux", {}).get("devices", []):
        chosen[os.path.normpath("/" + entry["path"].lstrip("/"))] = _from_config(entry, bind=bind)
    return [*chosen.values(), DeviceLinks()]


def _brings_own_dev(config: Config) -> bool:
    for entry in config.get("mounts", []):
        if os.path.normpath(entry["destination"]) == "/dev":
            return entry.get("type") == "bind" or bool({"bind", "rbind"} & set(entry.get("options", [])))
    return False


def _from_config(entry: dict[str, Any], *, bind: bool) -> Device:
    numbers = (entry.get("major", 0), entry.get("minor", 0))
    return Device(
        entry["path"],
        entry["type"],
        numbers,
        entry.get("fileMode", 0o666) & 0o7777,
        entry.get("uid", 0),
        entry.get("gid", 0),
        bind=bind,
    )


class Device(ChildStep):
    __slots__ = ("bind", "gid", "kind", "mode", "numbers", "path", "uid")

    def __init__(self, path: str, kind: str, numbers: tuple[int, int], mode: int, uid: int, gid: int, *, bind: bool) -> None:
        self.path = path
        self.kind = kind
        self.numbers = numbers
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.bind = bind

    def describe(self) -> str:
        if self._is_bound():
            return f"bind the host's {self.path} on {self.path}"
        owner = f" {self.uid}:{self.gid}" if self.uid or self.gid else ""
        return f"make device {self.path} {self.kind} {self.numbers[0]}:{self.numbers[1]} {self.mode:04o}{owner}"

    def _is_bound(self) -> bool:
        """A FIFO is no device: everyone may make one."""
        return self.bind and self.kind != "p"

    def apply(self, child: ChildContext) -> None:
        if self._is_bound():
            self._bind(child)
            return
        parent, _, name = self.path.rpartition("/")
        directory = path.make_directory_in_root(child.root, parent)
        try:
            self._make(directory, name)
        except FileExistsError:
            self._check(directory, name)
        except PermissionError:
            self._bind(child)
        except OSError as error:
            raise StepError("devices", error.errno or 0, f"make device {self.path}: {(error.strerror or '').lower()}") from None
        finally:
            os.close(directory)

    def _make(self, directory: int, name: str) -> None:
        os.mknod(name, _TYPES[self.kind] | self.mode, os.makedev(*self.numbers), dir_fd=directory)
        if self.uid or self.gid:
            os.chown(name, self.uid, self.gid, dir_fd=directory, follow_symlinks=False)

    def _check(self, directory: int, name: str) -> None:
        """What an image or a mount has there already may only be that very device."""
        if not self._is(os.stat(name, dir_fd=directory, follow_symlinks=False)):
            raise StepError("devices", errno.EEXIST, f"make device {self.path}: something else is there already")

    def _is(self, status: os.stat_result) -> bool:
        return stat.S_IFMT(status.st_mode) == _TYPES[self.kind] and (
            self.kind == "p" or status.st_rdev == os.makedev(*self.numbers)
        )

    def _bind(self, child: ChildContext) -> None:
        try:
            tree = mount.clone_tree(AT_FDCWD, self.path)
            try:
                if not self._is(os.fstat(tree)):
                    numbers = ":".join(str(number) for number in self.numbers)
                    raise StepError("devices", errno.ENODEV, f"bind device {self.path}: the host's is not {self.kind} {numbers}")
                target = open_target(child, self.path, is_directory=False)
                mount.attach(tree, target)
                os.close(target)
            finally:
                os.close(tree)
        except OSError as error:
            raise StepError("devices", error.errno or 0, f"bind device {self.path}: {(error.strerror or '').lower()}") from None


class DeviceLinks(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "link in /dev: " + " ".join(LINKS) + " ptmx, and core where /proc/kcore is"

    def apply(self, child: ChildContext) -> None:
        directory = path.make_directory_in_root(child.root, "/dev")
        try:
            self._ptmx(directory)
            links = {**LINKS, "core": "/proc/kcore"} if os.path.exists("/proc/kcore") else LINKS
            for name, target in links.items():
                try:
                    os.symlink(target, name, dir_fd=directory)
                except FileExistsError:
                    continue
        finally:
            os.close(directory)

    def _ptmx(self, directory: int) -> None:
        try:
            os.unlink("ptmx", dir_fd=directory)
        except FileNotFoundError:
            pass
        os.symlink("pts/ptmx", "ptmx", dir_fd=directory)
