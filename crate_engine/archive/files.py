"""Named files of a directory or of a tar archive behind one seam: what readers of layouts and docker archives stand on.

In a directory they are opened below it and never through a link (openat2(2)). In an archive names are looked up in its own table of contents,
and nothing is ever unpacked: a name, link or member that leads out of it leads nowhere. A name that occurs twice is refused, as two readers
would take different files for it.
"""

from __future__ import annotations

import os
import stat

from crate_engine import limits
from crate_engine.archive import expand
from crate_engine.errors import ImageError, LayerError, StoreError
from crate_engine.layers import entries
from crate_engine.layers.entries import Action
from crate_engine.store import durable
from crate_engine.store.blobs import blocks_of
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol, Self

    class Files(Protocol):
        """`what` begins the text of errors: `load images.tar`. Threads may read at the same time. Names are relative."""

        what: str

        def has(self, name: str) -> bool: ...
        def size(self, name: str) -> int:
            """Bytes. Raises ImageError where there is no such file."""

        def blocks(self, name: str, start: int = 0) -> Iterator[bytes]:
            """The content from `start` on. Raises ImageError."""

        def close(self) -> None: ...


_CHUNK = 1 << 20


def read(files: Files, name: str, limit: int) -> bytes:
    """A small file as a whole. Raises ImageError."""
    if files.size(name) > limit:
        raise ImageError(f"{files.what}: {name} is larger than the {limit} bytes allowed")
    return b"".join(files.blocks(name))


def open_files(path: str, what: str, scratch: str) -> Files:
    """A directory, or an archive, compressed or not; `scratch` is where a compressed one is expanded, to a file without a name."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ImageError(f"{what}: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return DirectoryFiles(fd, what)
    return open_archive(fd, what, scratch)


def open_archive(fd: int, what: str, scratch: str) -> ArchiveFiles:
    """From a file, pipe or terminal; `fd` is closed with the result, or before."""
    try:
        seekable = stat.S_ISREG(os.fstat(fd).st_mode) and os.lseek(fd, 0, os.SEEK_CUR) == 0
        head = os.pread(fd, expand.HEAD, 0) if seekable else _first(fd)
        kind = expand.format_of(head)
        if not (seekable and kind == expand.PLAIN):
            spooled = _spool(expand.expand(_stream(fd, b"" if seekable else head), kind), what, scratch)
            os.close(fd)
            fd = spooled
        return ArchiveFiles(fd, what)
    except LayerError as error:
        os.close(fd)
        raise ImageError(f"{what}: {error}", hint=error.hint) from error
    except BaseException:
        os.close(fd)
        raise


def _first(fd: int) -> bytes:
    head = b""
    while len(head) < expand.HEAD and (piece := os.read(fd, expand.HEAD - len(head))):
        head += piece
    return head


def _stream(fd: int, head: bytes) -> Iterator[bytes]:
    if head:
        yield head
    while piece := os.read(fd, _CHUNK):
        yield piece


def _spool(blocks: Iterator[bytes], what: str, scratch: str) -> int:
    """What can be read once only, or is compressed, goes to a file that vanishes with its fd."""
    try:
        fd = os.open(scratch, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    except OSError:  # a file system without such files
        path = f"{scratch}/new-{os.urandom(16).hex()}.part"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
    try:
        for block in blocks:
            durable.write_all(fd, block)
    except OSError as error:
        os.close(fd)
        raise StoreError(f"{what}: keep it in {scratch}: {error.strerror}") from error
    except BaseException:
        os.close(fd)
        raise
    return fd


class DirectoryFiles:
    def __init__(self, fd: int, what: str) -> None:
        """`fd` is of the directory, and closed by `close`."""
        self._directory = fd
        self.what = what

    def close(self) -> None:
        os.close(self._directory)

    def has(self, name: str) -> bool:
        try:
            os.close(self._open(name))
        except ImageError:
            return False
        return True

    def size(self, name: str) -> int:
        fd = self._open(name)
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)

    def blocks(self, name: str, start: int = 0) -> Iterator[bytes]:
        fd = self._open(name)
        try:
            yield from blocks_of(fd, start)
        except OSError as error:
            raise ImageError(f"{self.what}: read {name}: {error.strerror}") from error
        finally:
            os.close(fd)

    def _open(self, name: str) -> int:
        how = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS
        try:
            # A fifo that stands there must not be waited for.
            fd = openat2(self._directory, name.encode(), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, how)
        except OSError as error:
            raise ImageError(f"{self.what}: open {name}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise ImageError(f"{self.what}: {name} is no regular file")
        return fd


class ArchiveFiles:
    """A tar archive in a file that can be read at any place. Hard and symbolic links to members are the members, one step far."""

    def __init__(self, fd: int, what: str) -> None:
        """Reads the whole table of contents. `fd` is closed by `close`, not when this raises. Raises LayerError or ImageError."""
        self._fd = fd
        self.what = what
        self._members: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._twice: set[str] = set()
        self._index()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._fd)

    def has(self, name: str) -> bool:
        return self._links.get(name, name) in self._members

    def size(self, name: str) -> int:
        return self._member(name)[1]

    def blocks(self, name: str, start: int = 0) -> Iterator[bytes]:
        offset, size = self._member(name)
        while start < size:
            block = os.pread(self._fd, min(_CHUNK, size - start), offset + start)
            if not block:
                raise ImageError(f"{self.what}: {name} is cut short")
            yield block
            start += len(block)

    def names(self) -> list[str]:
        return [*self._members, *self._links]

    def _member(self, name: str) -> tuple[int, int]:
        if name in self._twice:
            raise ImageError(f"{self.what}: the archive has two files of the name {entries.show(name.encode())}")
        member = self._members.get(self._links.get(name, name))
        if member is None:
            raise ImageError(f"{self.what}: the archive has no file {entries.show(name.encode(errors='replace'))}")
        return member

    def _index(self) -> None:
        cursor = _Cursor(self._fd)
        for entry in entries.read(cursor):
            if len(self._members) + len(self._links) > limits.ARCHIVE_MEMBERS:
                raise ImageError(f"{self.what}: the archive has more than {limits.ARCHIVE_MEMBERS} members")
            name = os.fsdecode(entry.path)
            known = name in self._members or name in self._links
            if entry.action is Action.FILE:
                if entry.sparse is not None:
                    raise ImageError(f"{self.what}: {entries.show(entry.path)} is stored with holes")
                self._members[name] = (cursor.offset, entry.size)
            elif entry.action is Action.HARD_LINK:
                self._links[name] = os.fsdecode(entry.link)
            elif entry.action is Action.SYMLINK:
                self._links[name] = _target(name, os.fsdecode(entry.link))
            else:
                known = False
            if known:
                self._twice.add(name)
            cursor.skip(entry.size + entries.padding(entry.size))


def _target(name: str, link: str) -> str:
    """The member that a symbolic link means, or an impossible name where it leads out of the archive."""
    parts = name.split("/")[:-1]
    if link.startswith("/"):
        return "/"
    for part in link.split("/"):
        if part == "..":
            if not parts:
                return "/"
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Cursor:
    """The stream that `entries.read` wants, over a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.offset = 0
        self._end = os.fstat(fd).st_size

    def take(self, count: int) -> bytes:
        block = os.pread(self._fd, count, self.offset)
        self.offset += len(block)
        return block

    def skip(self, count: int) -> None:
        self.offset += count
        if self.offset > self._end:
            raise LayerError("read archive: it ends in the middle of a file")
