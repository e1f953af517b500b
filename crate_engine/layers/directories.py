"""What directories are to look like once everything in them is made: written down in order, in memory that does not grow with the layer.

Making a file in a directory changes its times, and in a directory with the set-group-id bit gets another group; so these come last.
"""

from __future__ import annotations

import marshal
import os
from contextlib import suppress
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER = 64 << 10


@dataclass(frozen=True, slots=True)
class Directory:
    """One entry's wish; of several for one path the last counts. `implied`: there was none, the archive only has what is below."""

    path: bytes
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[str, bytes]
    implied: bool = False


class DirectoryLog:
    """In an unnamed file beside the tree: two million directories with long names would be gigabytes."""

    def __init__(self, root: int) -> None:
        """`root` is an fd of a directory on the file system to use."""
        self._file = open(_unnamed(root), "w+b", buffering=_BUFFER)
        self.has_xattrs = False

    def add(self, directory: Directory) -> None:
        fields = (directory.path, directory.mode, directory.uid, directory.gid, directory.mtime_ns, directory.xattrs)
        marshal.dump((*fields, directory.implied), self._file)
        self.has_xattrs = self.has_xattrs or bool(directory.xattrs)

    def read(self) -> Iterator[Directory]:
        """Everything in the order in which it was added."""
        self._file.seek(0)
        while True:
            try:
                yield Directory(*marshal.load(self._file))
            except EOFError:
                return

    def close(self) -> None:
        with suppress(OSError):  # what is still in its buffer is of no use to anybody
            self._file.close()


def _unnamed(root: int) -> int:
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=root)
    except OSError:
        return os.memfd_create("directories", os.MFD_CLOEXEC)  # NFS and some FUSE file systems have no unnamed files
