"""A tree packed into a tar stream by a child process inside the user namespace, and read here as it comes.

One process walks and reads files while the other hashes, compresses and writes. The archive ends with its two blocks of zeros, and is whole
only when the iterator ends without an error.
"""

from __future__ import annotations

import marshal
import os
import resource
import signal
from contextlib import contextmanager

from crate_engine import errors
from crate_engine.errors import CrateError
from crate_engine.layers import tarwriter
from crate_engine.layers.tar_fields import padding
from crate_engine.system import userns
from crate_engine.system.process import set_parent_death_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

    from crate_engine.layers.tree import Member
    from crate_engine.system.userns import UserNamespace

_CHUNK = 1 << 20


@contextmanager
def packed(user_namespace: UserNamespace, walk: Callable[[], Iterator[Member]]) -> Iterator[Iterator[bytes]]:
    """Gives the archive in blocks. `walk` is called in the child. Forks: the process must have no threads. Raises what the walk raises."""
    userns.run(user_namespace, os.getpid)  # what the host forbids is said here
    receive, send = os.pipe()
    heard, tell = os.pipe()

    def serve() -> int:
        set_parent_death_signal(signal.SIGKILL)
        os.close(receive)
        os.close(heard)
        return _serve(walk, send, tell)

    pid = userns.fork(user_namespace, serve)
    os.close(send)
    os.close(tell)
    try:
        with open(receive, "rb", buffering=0) as stream, open(heard, "rb") as report:
            yield _blocks(stream, report)
    finally:
        os.waitpid(pid, 0)


def _blocks(stream: BinaryIO, report: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_CHUNK):
        yield block
    said = report.read()
    if not said:
        raise CrateError("pack files: the process ended early", hint="it may have been killed for want of memory")
    name, message, hint = marshal.loads(said)
    if name:
        raise getattr(errors, name)(message, hint=hint)


def _serve(walk: Callable[[], Iterator[Member]], send: int, tell: int) -> int:
    # A directory of many layers is open once for each, on every level.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    answer: tuple[str, str, str | None] = ("", "", None)
    try:
        with open(send, "wb", buffering=_CHUNK) as stream:
            write(walk(), stream)
    except CrateError as error:
        answer = (type(error).__name__, str(error), error.hint)
    except OSError as error:
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else "files"
        answer = ("StoreError", f"pack {name}: {error.strerror}", None)
    os.write(tell, marshal.dumps(answer))
    return 0


def write(members: Iterator[Member], stream: BinaryIO) -> None:
    """The whole archive. Closes the members' fds."""
    for entry, fd in members:
        stream.write(tarwriter.member(entry))
        if fd is None:
            continue
        try:
            _copy(fd, entry.size, stream)
        finally:
            os.close(fd)
        stream.write(bytes(padding(entry.size)))
    stream.write(tarwriter.END)


def _copy(fd: int, size: int, stream: BinaryIO) -> None:
    """Exactly `size` bytes, as the header says: a running program may cut the file short or append to it meanwhile."""
    left = size
    while left and (piece := os.read(fd, min(left, _CHUNK))):
        stream.write(piece)
        left -= len(piece)
    while left:
        piece = bytes(min(left, _CHUNK))
        stream.write(piece)
        left -= len(piece)
