"""A blob whose digest is known only when it is written: what is compressed or packed here. Its file is in `ingest/`, claimed while it is made.

`commit` gives it its name among the blobs; the caller holds a protection of its digest by then (`leases.protect`).
"""

from __future__ import annotations

import hashlib
import os

from crate_engine.errors import StoreError
from crate_engine.oci.digest import Digest
from crate_engine.store import durable, leases
from crate_engine.store.blobs import BlobStore, blocks_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from crate_engine.store.paths import Store


class NewBlob:
    """Leaving the context removes the file, unless it was committed. `size` counts the bytes so far; `fd` may be read with pread(2)."""

    def __init__(self, store: Store) -> None:
        self._blobs = BlobStore(store)
        # Of the form of a download's name, so that what a killed process left is swept with those.
        self._path = f"{store.ingest}/new-{os.urandom(16).hex()}.part"
        fd = leases.open_claimed(self._path)
        assert fd is not None
        self.fd = fd
        self.size = 0
        self._hash = hashlib.sha256()
        self._committed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._committed:
            os.unlink(self._path)
        os.close(self.fd)

    def write(self, chunk: bytes) -> None:
        try:
            durable.write_all(self.fd, chunk)
        except OSError as error:
            raise StoreError(f"write {self._path}: {error.strerror}") from error
        self._hash.update(chunk)
        self.size += len(chunk)

    def read(self, start: int) -> Iterator[bytes]:
        """What was written, from `start` on."""
        return blocks_of(self.fd, start)

    @property
    def digest(self) -> Digest:
        return Digest("sha256", self._hash.hexdigest())

    def commit(self) -> None:
        """Durable afterwards. One that is there already is left as it is."""
        if self._committed or self._blobs.has(self.digest, self.size):
            return
        self._blobs.place(self.fd, self._path, self.digest)
        self._committed = True
