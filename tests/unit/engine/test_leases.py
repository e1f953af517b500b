"""crate_engine.store.leases: what a pull protects is on record whole, or the pull does not begin."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from crate_engine.errors import StoreError
from crate_engine.store import leases
from crate_engine.store.paths import Store

DIGESTS = [f"sha256:{number:064x}" for number in range(100)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "root"), str(tmp_path / "run"))


def test_what_is_protected_is_so_however_short_the_writes_are(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: write(fd, bytes(content)[:100]))
    with leases.protect(store, DIGESTS):
        assert leases.protected(store) == set(DIGESTS)
    assert leases.protected(store) == set()


def test_a_protection_that_cannot_be_written_names_the_file_and_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"write .*\.pull: No space left"), leases.protect(store, DIGESTS):
        pytest.fail("it began")
    assert os.listdir(store.ingest) == []
