"""Blobs fetched and layers unpacked at the same time: threads that fetch, worker processes that unpack what is there so far.

A layer gets its place only when its blob has the right digest and size and its content the right diff id. Between processes every blob is
fetched and every layer unpacked once: the others wait for the claim and find it done. Knows nothing of registries.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass

from crate_engine.errors import CrateError, DigestMismatch, StoreError
from crate_engine.layers.store import LayerStore
from crate_engine.layers.worker import Worker
from crate_engine.oci.digest import Digest
from crate_engine.store import leases
from crate_engine.store.blobs import BlobStore
from crate_engine.system import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.image_config import ImageConfig
    from crate_engine.oci.manifest import Manifest
    from crate_engine.store.blobs import BlobWriter
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace

    class Progress(Protocol):
        """What is told of a transfer, one call at a time, from any thread of the calling process. Digests are the blobs'."""

        def layer_started(self, digest: Digest, size: int) -> None: ...
        def advanced(self, digest: Digest, count: int) -> None: ...
        def unpacking(self, digest: Digest) -> None: ...
        def layer_done(self, digest: Digest, cached: bool) -> None: ...

    Fetch = Callable[[Descriptor, BlobWriter, Callable[[int], None]], None]
    """Write what is missing of a blob, telling the number of bytes after each piece."""

_FETCHING = 4
_UNPACKING = 4
_STEP = 256 << 10  # new bytes that are worth a message to a worker


@dataclass(frozen=True, slots=True)
class Transfer:
    blob: Descriptor
    diff_id: Digest
    fetch: bool
    unpack: bool


def plan(store: Store, manifest: Manifest, config: ImageConfig, user_namespace: UserNamespace) -> list[Transfer]:
    """What of an image's layers is still to be fetched or unpacked; each blob and each layer once."""
    blobs, layers = BlobStore(store), LayerStore(store, user_namespace)
    transfers: dict[Digest, Transfer] = {}
    for blob, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        if diff_id not in transfers:
            transfers[diff_id] = Transfer(blob, diff_id, not blobs.has(blob.digest, blob.size), not layers.has(diff_id))
    return list(transfers.values())


def bring(
    store: Store,
    transfers: list[Transfer],
    user_namespace: UserNamespace,
    fetch: Fetch | None = None,
    progress: Progress | None = None,
) -> None:
    """Do all transfers. Forks first: the calling process must have no threads. Raises the first error, after everything has stopped."""
    for transfer in transfers:
        if transfer.fetch and fetch is None:
            raise StoreError(
                f"unpack layer {transfer.diff_id}: its blob {transfer.blob.digest} is missing", hint="pull the image again"
            )
    unpacking = sum(transfer.unpack for transfer in transfers)
    if unpacking:
        userns.run(user_namespace, os.getpid)  # what the host forbids is said here, before anything is fetched
    workers: list[Worker] = []
    with ExitStack() as stack:
        for _ in range(min(unpacking, _UNPACKING, len(os.sched_getaffinity(0)))):
            workers.append(Worker(user_namespace, store.trash))
            stack.callback(workers[-1].close)
        try:
            _Run(store, transfers, LayerStore(store, user_namespace), fetch, _OneAtATime(progress)).run(workers)
        except CrateError:
            raise
        except BaseException:
            for worker in workers:
                worker.kill()  # interrupted: what they were doing is swept by the next pull
            raise


class _Arrival:
    """How much of a blob can be read, for the thread that feeds a worker."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.fd: int | None = None
        self.available = 0
        self.complete = False
        self.failed = False

    def open(self, fd: int, available: int = 0) -> None:
        """`fd` now belongs to this; `close` closes it."""
        with self._changed:
            self.fd, self.available = fd, available
            self._changed.notify_all()

    def advance(self, available: int) -> None:
        if available - self.available >= _STEP:
            with self._changed:
                self.available = available
                self._changed.notify_all()

    def end(self, available: int, *, failed: bool = False) -> None:
        with self._changed:
            self.available, self.complete, self.failed = available, not failed, failed
            self._changed.notify_all()

    def wait(self, known: int) -> None:
        """Until there is something to read beyond `known` bytes, or the end."""
        with self._changed:
            self._changed.wait_for(lambda: (self.fd is not None and self.available > known) or self.complete or self.failed)

    def close(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class _OneAtATime:
    """Calls of the caller's Progress, from whatever thread, one after the other."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()

    def __call__(self, event: str, *arguments: object) -> None:
        if self._progress is not None:
            with self._lock:
                getattr(self._progress, event)(*arguments)


class _Stopped(Exception):
    """Another thread failed, and its error is the one to report."""


class _Run:
    def __init__(
        self, store: Store, transfers: list[Transfer], layers: LayerStore, fetch: Fetch | None, tell: _OneAtATime
    ) -> None:
        self._store = store
        self._blobs = BlobStore(store)
        self._layers = layers
        self._fetch = fetch
        self._tell = tell
        self._arrivals = {transfer.diff_id: _Arrival() for transfer in transfers}
        self._to_fetch = deque(transfers)
        self._to_unpack = deque(transfer for transfer in transfers if transfer.unpack)
        self._error: BaseException | None = None
        self._stop = threading.Event()

    def run(self, workers: list[Worker]) -> None:
        fetching = min(_FETCHING, len(self._to_fetch))
        # Daemons: an interrupted program must not wait for a thread that waits for another process.
        threads = [threading.Thread(target=self._work, args=(self._fetch_all,), daemon=True) for _ in range(fetching)]
        threads += [threading.Thread(target=self._work, args=(self._unpack_all, worker), daemon=True) for worker in workers]
        started, patience = [], 10.0
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            for thread in threads:
                while thread.is_alive() and not self._stop.is_set():
                    thread.join(0.5)
        except BaseException:
            patience = 0.1  # someone pressed Ctrl-C, and a thread that waits for the network does not hear of it
            raise
        finally:
            self._stop.set()
            for arrival in self._arrivals.values():
                if not arrival.complete:
                    arrival.end(0, failed=True)
            for thread in started:  # an interrupt may come before the last one
                thread.join(patience)
            if not any(thread.is_alive() for thread in started):
                for arrival in self._arrivals.values():
                    arrival.close()
        if self._error is not None:
            raise self._error

    def _work(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            function(*arguments)
        except _Stopped:
            pass
        except BaseException as error:
            if self._error is None:
                self._error = error
            self._stop.set()

    def _fetch_all(self) -> None:
        while self._to_fetch and not self._stop.is_set():
            try:
                transfer = self._to_fetch.popleft()
            except IndexError:
                return
            arrival = self._arrivals[transfer.diff_id]
            try:
                self._fetch_one(transfer, arrival)
            except BaseException:
                arrival.end(0, failed=True)
                raise

    def _fetch_one(self, transfer: Transfer, arrival: _Arrival) -> None:
        blob = transfer.blob
        if transfer.fetch:
            with self._blobs.ingest(blob.digest, blob.size) as writer:
                if not writer.present:
                    self._tell("layer_started", blob.digest, blob.size)
                    self._download(blob, writer, arrival)
        if arrival.fd is None:
            arrival.open(self._blobs.open(blob.digest))
        arrival.end(blob.size)
        if not transfer.unpack:
            self._tell("layer_done", blob.digest, not transfer.fetch)

    def _download(self, blob: Descriptor, writer: BlobWriter, arrival: _Arrival) -> None:
        continued = writer.offset > 0
        if not continued:
            # Not dup(2): a duplicate would share, and prolong, the writer's claim on the blob.
            arrival.open(os.open(f"/proc/self/fd/{writer.fd}", os.O_RDONLY | os.O_CLOEXEC))
        try:
            self._download_once(blob, writer, arrival)
        except DigestMismatch:
            if not continued:
                raise
            # The beginning was an earlier process's, and may have been lost with a power failure: nobody has read it yet.
            writer.restart()
            self._download_once(blob, writer, arrival)

    def _download_once(self, blob: Descriptor, writer: BlobWriter, arrival: _Arrival) -> None:
        def on_piece(count: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            if arrival.fd is not None:
                arrival.advance(writer.offset)
            self._tell("advanced", blob.digest, count)

        assert self._fetch is not None
        if writer.offset:
            self._tell("advanced", blob.digest, writer.offset)
        self._fetch(blob, writer, on_piece)
        writer.commit()

    def _unpack_all(self, worker: Worker) -> None:
        while self._to_unpack and not self._stop.is_set():
            try:
                transfer = self._to_unpack.popleft()
            except IndexError:
                return
            arrival = self._arrivals[transfer.diff_id]
            with leases.claim(self._store, self._layers.work(transfer.diff_id)):
                cached = self._layers.has(transfer.diff_id)
                if not cached:
                    self._unpack_one(worker, transfer, arrival)
            arrival.wait(transfer.blob.size)  # also of a layer that another process unpacked the blob must be here
            if arrival.failed:
                raise _Stopped
            arrival.close()
            self._tell("layer_done", transfer.blob.digest, cached)

    def _unpack_one(self, worker: Worker, transfer: Transfer, arrival: _Arrival) -> None:
        arrival.wait(0)
        if arrival.failed or arrival.fd is None:
            raise _Stopped
        self._tell("unpacking", transfer.blob.digest)
        directory = self._layers.ingest_directory(transfer.diff_id)
        worker.start(arrival.fd, directory, transfer.diff_id)
        known = 0
        while not (arrival.complete or arrival.failed or worker.answered()):
            arrival.wait(known)
            known = arrival.available
            worker.advance(known)
        if arrival.complete:
            worker.end(transfer.blob.size)
        elif arrival.failed:
            worker.end(0, failed=True)
        try:
            size, entries = worker.result()
        except CrateError:
            if arrival.failed:
                raise _Stopped from None
            raise
        self._layers.commit(transfer.diff_id, directory, size=size, entries=entries)
