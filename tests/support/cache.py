"""Things that take long to build, kept between runs: one directory per key in ${XDG_CACHE_HOME:-~/.cache}/crate-tests.

A key names everything that a thing was made from, so nothing is ever updated in place. Several test runs at once build each thing once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

_UNUSED_FOR = 30 * 24 * 3600  # seconds until an entry that nobody asked for is removed


def directory() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    path = Path(base if base.startswith("/") else Path.home() / ".cache") / "crate-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def built(name: str, identity: str, build: Callable[[Path], None]) -> Path:
    """The directory that `build` filled. It is called with an empty one, by one process at a time, unless that was done before."""
    home = directory()
    entry = home / f"{name}-{identity}"
    with open(home / f"{name}.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not entry.exists():
            _remove_unused(home, name)
            partial = home / f"{name}-{identity}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            build(partial)
            partial.rename(entry)
        os.utime(entry)
    return entry


def _remove_unused(home: Path, name: str) -> None:
    for other in home.glob(f"{name}-*"):
        if other.suffix == ".partial" or other.stat().st_mtime < time.time() - _UNUSED_FOR:
            shutil.rmtree(other, ignore_errors=True)
