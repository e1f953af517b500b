"""The blobs of the store's OCI layout: each file's name is the digest of its content, checked before it gets the name."""

from __future__ import annotations

import hashlib
import os

from crate_engine import limits
from crate_engine.errors import DigestMismatch, StoreError
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.store import durable, leases
from crate_engine.store.paths import Store, make_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_PART = ".part"
_CHUNK = 1 << 20


def blocks_of(fd: int, start: int = 0) -> Iterator[bytes]:
    """The content of a file from `start` on, a mebibyte at a time; the file's own offset stays. Raises OSError."""
    while block := os.pread(fd, _CHUNK, start):
        yield block
        start += len(block)


class BlobStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def path(self, digest: Digest) -> str:
        return f"{self._store.oci}/{layout.blob_path(digest)}"

    def has(self, digest: Digest, size: int) -> bool:
        """Of the right size: a file cut short by a damaged file system counts as missing, and is fetched again."""
        try:
            return os.stat(self.path(digest), follow_symlinks=False).st_size == size
        except FileNotFoundError:
            return False

    def open(self, digest: Digest) -> int:
        """A read-only fd, which the caller closes. Raises StoreError."""
        try:
            return os.open(self.path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(
                f"open blob {digest}: {error.strerror}", hint="crate system check --repair, or pull the image again"
            ) from error

    def read(self, digest: Digest, limit: int = limits.CONFIG_BYTES) -> bytes:
        """A small blob as a whole, checked against its digest."""
        with open(self.open(digest), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise StoreError(f"read blob {digest}: it is larger than {limit} bytes")
        if not digest.matches(content):
            raise StoreError(f"read blob {digest}: its content was changed on disk", hint="crate system check --repair --full")
        return content

    def size(self, digest: Digest) -> int:
        """In bytes, of the file as it is; 0 when it is not here."""
        try:
            return os.stat(self.path(digest), follow_symlinks=False).st_size
        except OSError:
            return 0

    def ingest(self, digest: Digest, size: int, *, replace: bool = False) -> BlobWriter:
        """A writer for a blob that is to have exactly this digest and size. Waits while another process writes the same blob.

        `replace`: the file that is there is damaged, and is written anew.
        """
        return BlobWriter(self, self._store, digest, size, replace=replace)

    def add(self, content: bytes, digest: Digest, *, replace: bool = False) -> None:
        """A small blob that is in memory."""
        with self.ingest(digest, len(content), replace=replace) as writer:
            if not writer.present:
                writer.restart()
                writer.write(content)
                writer.commit()

    def blocks(self, digest: Digest, start: int = 0) -> Iterator[bytes]:
        """The content from `start` on, unchecked. Raises StoreError."""
        fd = self.open(digest)
        try:
            yield from blocks_of(fd, start)
        except OSError as error:
            raise StoreError(f"read blob {digest}: {error.strerror}") from error
        finally:
            os.close(fd)

    def place(self, fd: int, temporary: str, digest: Digest) -> None:
        """Give a file that has all of its content, open at `fd`, its place among the blobs; durable afterwards. Raises StoreError."""
        path = self.path(digest)
        directory = os.path.dirname(path)
        make_directory(os.path.dirname(directory))
        make_directory(directory)
        try:
            os.fsync(fd)
            os.rename(temporary, path)
            durable.sync_directory(directory)
        except OSError as error:
            raise StoreError(f"write blob {digest}: {error.strerror}") from error

    def remove(self, digest: Digest) -> None:
        try:
            os.unlink(self.path(digest))
        except FileNotFoundError:
            pass

    def all(self) -> list[Digest]:
        found = []
        for algorithm in ("sha256", "sha512"):
            try:
                names = os.listdir(f"{self._store.oci}/blobs/{algorithm}")
            except FileNotFoundError:
                continue
            length = hashlib.new(algorithm).digest_size * 2
            found += [Digest(algorithm, name) for name in names if len(name) == length]
        return found

    def sweep(self, wanted: set[Digest]) -> None:
        """Remove downloads that no living process writes; those of `wanted` are kept to be continued."""
        names = {_part_name(digest) for digest in wanted}
        for name in os.listdir(self._store.ingest):
            if not name.endswith(_PART) or name in names:
                continue
            path = f"{self._store.ingest}/{name}"
            fd = leases.open_claimed(path, wait=False)
            if fd is not None:
                os.unlink(path)
                os.close(fd)


class BlobWriter:
    """Content goes into `ingest/` and is hashed on the way; `commit` gives it its name. `offset` bytes are there already, from an earlier try.

    `present`: another process finished the blob first, and there is nothing to write. Leaving the context without a commit keeps
    what was written for the next try. `fd` may be read from, with pread(2), up to `offset`.
    """

    def __init__(self, blobs: BlobStore, store: Store, digest: Digest, size: int, *, replace: bool = False) -> None:
        self._blobs = blobs
        self._digest = digest
        self._size = size
        self._path = f"{store.ingest}/{_part_name(digest)}"
        fd = leases.open_claimed(self._path)
        assert fd is not None
        self.fd = fd
        self.offset = 0
        self._hash = hashlib.new(digest.algorithm)
        self.present = not replace and blobs.has(digest, size)
        try:
            if self.present:
                os.unlink(self._path)
            else:
                self._continue()
        except BaseException:
            os.close(fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.present and self.offset == 0 and self._size:
            os.unlink(self._path)  # nothing to continue from
        os.close(self.fd)

    def _continue(self) -> None:
        length = os.fstat(self.fd).st_size
        if length > self._size:
            self.restart()
            return
        while self.offset < length and (chunk := os.pread(self.fd, _CHUNK, self.offset)):
            self._hash.update(chunk)
            self.offset += len(chunk)
        os.lseek(self.fd, self.offset, os.SEEK_SET)

    def restart(self) -> None:
        """Forget what is there."""
        try:
            os.ftruncate(self.fd, 0)
        except OSError as error:
            raise StoreError(f"write blob {self._digest}: {error.strerror}") from error
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.offset = 0
        self._hash = hashlib.new(self._digest.algorithm)

    def write(self, chunk: bytes) -> None:
        """Raises DigestMismatch as soon as there is more than was announced."""
        if self.offset + len(chunk) > self._size:
            self.restart()
            raise DigestMismatch(f"fetch blob {self._digest}: it is longer than the {self._size} bytes announced")
        try:
            durable.write_all(self.fd, chunk)
        except OSError as error:
            raise StoreError(f"write blob {self._digest}: {error.strerror}") from error
        self._hash.update(chunk)
        self.offset += len(chunk)

    def commit(self) -> None:
        """Raises DigestMismatch, and forgets the content, unless size and digest are right; otherwise the blob is durable afterwards."""
        if self.offset != self._size:
            self.restart()
            raise DigestMismatch(f"fetch blob {self._digest}: it has {self.offset} bytes, not the {self._size} announced")
        found = self._hash.hexdigest()
        if found != self._digest.hex:
            self.restart()
            raise DigestMismatch(f"fetch blob {self._digest}: its content has the digest {self._digest.algorithm}:{found}")
        self._blobs.place(self.fd, self._path, self._digest)


def _part_name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}{_PART}"
