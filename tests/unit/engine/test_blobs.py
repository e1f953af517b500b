"""Blobs: nothing gets a name before size and digest are right."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from crate_engine.errors import DigestMismatch, StoreError
from crate_engine.oci.digest import Digest
from crate_engine.store import leases
from crate_engine.store.blobs import BlobStore
from crate_engine.store.paths import Store

CONTENT = b"content of a blob" * 1000
DIGEST = Digest.of(CONTENT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "root"), str(tmp_path / "run"))


@pytest.fixture
def blobs(store: Store) -> BlobStore:
    return BlobStore(store)


def test_a_blob_is_there_after_the_commit_and_not_before(store: Store, blobs: BlobStore) -> None:
    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        writer.write(CONTENT[:5000])
        writer.write(CONTENT[5000:])
        assert not blobs.has(DIGEST, len(CONTENT))
        assert os.pread(writer.fd, 4, 5000) == CONTENT[5000:5004]
        writer.commit()
    assert blobs.has(DIGEST, len(CONTENT))
    assert blobs.read(DIGEST) == CONTENT
    assert blobs.all() == [DIGEST]
    assert os.listdir(store.ingest) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (CONTENT[:-1], "not the 17000 announced"),
        (CONTENT + b"x", "longer than"),
        (CONTENT[:-1] + b"x", "has the digest"),
        (b"", "0 bytes"),
    ],
)
def test_wrong_content_never_gets_the_name(blobs: BlobStore, content: bytes, text: str) -> None:
    with blobs.ingest(DIGEST, len(CONTENT)) as writer, pytest.raises(DigestMismatch, match=text):
        writer.write(content)
        writer.commit()
    assert blobs.all() == []
    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        assert writer.offset == 0


def test_an_interrupted_write_is_continued(blobs: BlobStore) -> None:
    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        writer.write(CONTENT[:6000])
    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        assert writer.offset == 6000
        writer.write(CONTENT[6000:])
        writer.commit()
    assert blobs.read(DIGEST) == CONTENT


def test_what_a_killed_process_left_is_continued_or_swept(store: Store, blobs: BlobStore) -> None:
    child = os.fork()
    if child == 0:
        try:
            blobs.ingest(DIGEST, len(CONTENT)).write(CONTENT[:100])
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    blobs.sweep({DIGEST})
    assert len(os.listdir(store.ingest)) == 1
    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        assert writer.offset == 100
        blobs.sweep(set())  # a living writer's file stays
        assert len(os.listdir(store.ingest)) == 1
    blobs.sweep(set())
    assert os.listdir(store.ingest) == []


def test_the_second_of_two_writers_waits_and_finds_the_blob(blobs: BlobStore) -> None:
    seen: list[bool] = []

    def second() -> None:
        with blobs.ingest(DIGEST, len(CONTENT)) as other:
            seen.append(other.present)

    with blobs.ingest(DIGEST, len(CONTENT)) as writer:
        thread = threading.Thread(target=second)
        thread.start()
        writer.write(CONTENT)
        thread.join(0.1)
        assert seen == []
        writer.commit()
    thread.join(10)
    assert seen == [True]


def test_small_blobs_are_added_from_memory_and_only_with_their_digest(blobs: BlobStore) -> None:
    blobs.add(CONTENT, DIGEST)
    blobs.add(CONTENT, DIGEST)
    with pytest.raises(DigestMismatch):
        blobs.add(b"x", Digest.of(b"y"))
    assert blobs.all() == [DIGEST]


def test_reading_checks_content_and_limit(blobs: BlobStore) -> None:
    blobs.add(CONTENT, DIGEST)
    with pytest.raises(StoreError, match="larger than 100 bytes"):
        blobs.read(DIGEST, 100)
    Path(blobs.path(DIGEST)).write_bytes(b"changed")
    assert not blobs.has(DIGEST, len(CONTENT))
    with pytest.raises(StoreError, match="changed on disk"):
        blobs.read(DIGEST)
    blobs.remove(DIGEST)
    blobs.remove(DIGEST)
    with pytest.raises(StoreError, match=str(DIGEST)):
        blobs.open(DIGEST)


def test_a_blob_that_is_a_link_is_not_opened(blobs: BlobStore, tmp_path: Path) -> None:
    blobs.add(CONTENT, DIGEST)
    (tmp_path / "elsewhere").write_bytes(CONTENT)
    os.unlink(blobs.path(DIGEST))
    os.symlink(tmp_path / "elsewhere", blobs.path(DIGEST))
    with pytest.raises(StoreError):
        blobs.read(DIGEST)


def test_work_is_claimed_by_one_and_free_after_its_death(store: Store) -> None:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with leases.claim(store, "layer-a"):
                os.write(send, b"x")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(receive, 1) == b"x"
    assert leases.is_claimed(store, "layer-a")
    assert not leases.is_claimed(store, "layer-b")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(receive)
    os.close(send)
    assert not leases.is_claimed(store, "layer-a")
    with leases.claim(store, "layer-a"):
        pass
    assert os.listdir(store.ingest) == []
