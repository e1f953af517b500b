"""The directory of one test run. A run that was killed could not remove its own: the next one does."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "crate-test-"
_LOCK = ".in-use"


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """A directory that every user can enter; removed at the end."""
    _sweep(parent)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    path.chmod(0o755)
    with open(path / _LOCK, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _sweep(parent: Path) -> None:
    """Directories of ours whose lock nobody holds. One without a lock may be in the making."""
    for path in parent.glob(f"{_PREFIX}*"):
        try:
            if path.lstat().st_uid != os.geteuid():
                continue
            with open(path / _LOCK, "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        shutil.rmtree(path, ignore_errors=True)
