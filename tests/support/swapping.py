"""An attacker who exchanges two names for each other, over and over: `swapping.py PATH PATH` until it is killed (renameat2(2)).

What a runtime looks at and what it then uses are two things while this goes on, unless it holds on to what it looked at.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def swap(libc: ctypes.CDLL, first: bytes, second: bytes) -> None:
    """Names that are gone, or busy as mount points are, are tried again: nothing is reported."""
    libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)


@contextmanager
def swapping(first: Path, second: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-I", "-S", __file__, str(first), str(second)], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"+"  # at work
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    library = ctypes.CDLL(None)
    names = [os.fsencode(name) for name in sys.argv[1:]]
    swap(library, *names)
    os.write(1, b"+")
    while True:
        swap(library, *names)
