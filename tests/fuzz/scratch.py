"""Where layers are unpacked while fuzzing: a directory beside a canary that nothing may touch. As root it is all there is, by chroot(2)."""

from __future__ import annotations

import os
import select

from crate_engine.store import durable

_DESCRIPTORS = 128


class Escaped(AssertionError):
    """Something outside the directory was changed, or a file descriptor was left open."""


class Scratch:
    """Made in the process that fuzzes, which it takes over: the working directory, the umask and, as root, the root directory."""

    def __init__(self, directory: str) -> None:
        os.umask(0)
        os.makedirs(f"{directory}/canary", 0o755)
        with open(f"{directory}/canary/file", "wb") as file:
            file.write(b"alive")
        os.chmod(f"{directory}/canary/file", 0o640)
        os.chdir(directory)
        if os.geteuid() == 0:
            os.chroot(".")
        self._top = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._before = self._canary()
        self._beside: list[str] = []
        self._every = select.poll()
        for number in range(_DESCRIPTORS):
            self._every.register(number, 0)
        self._unused = self._closed()

    def fresh(self) -> int:
        """A descriptor of an empty directory; the caller closes it."""
        durable.remove_at(self._top, b"fs", shown="fs")
        os.mkdir(b"fs", 0o755, dir_fd=self._top)
        self._beside = self._beside or sorted(os.listdir(self._top))
        return os.open(b"fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._top)

    def check(self) -> None:
        """Raises Escaped. The time of the last change tells of modes, owners, attributes and links too."""
        if (now := self._canary()) != self._before:
            raise Escaped(f"the canary was {self._before}, and is {now}")
        if (names := sorted(os.listdir(self._top))) != self._beside:
            raise Escaped(f"beside the directory there is {names}")
        if self._closed() != self._unused:
            raise Escaped("a file descriptor was left open, or one too many was closed")

    def _closed(self) -> list[int]:
        """The numbers that are no open file descriptors; there may be no /proc to list those that are."""
        return [number for number, event in self._every.poll(0) if event & select.POLLNVAL]

    def _canary(self) -> list[object]:
        found: list[object] = [sorted(os.listdir("canary"))]
        for path in ("canary", "canary/file"):
            status = os.stat(path, dir_fd=self._top, follow_symlinks=False)
            found.append((status.st_ino, status.st_mode, status.st_uid, status.st_nlink, status.st_size, status.st_ctime_ns))
        return found
