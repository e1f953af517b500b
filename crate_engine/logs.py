"""Reading a container's log (monitor/log.py writes it): the last lines, and what comes next as it comes (inotify(7))."""

from __future__ import annotations

import os
import select

from crate_engine.errors import StoreError
from crate_engine.jsontext import loads
from crate_engine.system.libc import call
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CHUNK = 64 << 10
_IN_MODIFY, _IN_NONBLOCK_CLOEXEC = 2, os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LogLine:
    """`data` are the bytes as they were written, mostly with their newline; `time` is RFC 3339."""

    stream: str
    time: str
    data: bytes


def read(path: str, *, tail: int | None, follow: Callable[[], int] | None) -> Iterator[LogLine]:
    """The log's lines; `tail` is how many of the last. With `follow` the iteration goes on until the container has ended.

    `follow` gives a pidfd of the container's monitor, which the iteration closes, or -1 when it has ended.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return  # it was never started
    except OSError as error:
        raise StoreError(f"read {path}: {error.strerror}") from error
    with open(fd, "rb", buffering=0) as file:
        if tail is not None:
            file.seek(_start_of_last(fd, tail))
        if follow is None:
            yield from _lines(fd, bytearray())
        else:
            yield from _follow(path, fd, follow())


def _follow(path: str, fd: int, monitor: int) -> Iterator[LogLine]:
    rest = bytearray()
    if monitor < 0:
        yield from _lines(fd, rest)
        return
    watch = call("inotify_init1", _IN_NONBLOCK_CLOEXEC)
    try:
        # Through the fd: with --rm the path may be gone already.
        call("inotify_add_watch", watch, f"/proc/self/fd/{fd}", _IN_MODIFY, path=path)
        poll = select.poll()
        poll.register(watch, select.POLLIN)
        poll.register(monitor, select.POLLIN)
        ended = False
        while True:
            yield from _lines(fd, rest)
            if ended:
                return
            ready = dict(poll.poll())
            if watch in ready:
                os.read(watch, _CHUNK)
            ended = monitor in ready
    finally:
        os.close(watch)
        os.close(monitor)


def _lines(fd: int, rest: bytearray) -> Iterator[LogLine]:
    """The complete lines from here to the end; an incomplete one stays in `rest`."""
    while chunk := os.read(fd, _CHUNK):
        rest += chunk
        *complete, last = rest.split(b"\n")
        rest[:] = last
        for line in complete:
            entry = _entry(bytes(line))
            if entry:
                yield entry


def _entry(line: bytes) -> LogLine | None:
    """None for a line that is damaged, as the last one may be after a crash of the host."""
    try:
        entry = loads(line.decode())
        return LogLine(entry["stream"], entry["time"], entry["log"].encode("utf-8", "surrogateescape"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _start_of_last(fd: int, count: int) -> int:
    """Where the last `count` entries begin, read backwards: a log can be long."""
    end = position = os.fstat(fd).st_size
    if count == 0:
        return end
    found = 0
    while position > 0:
        start = max(0, position - _CHUNK)
        chunk = os.pread(fd, position - start, start)
        place = len(chunk)
        while (place := chunk.rfind(b"\n", 0, place)) >= 0:
            if start + place == end - 1:
                continue  # the last line's own end
            found += 1
            if found == count:
                return start + place + 1
        position = start
    return 0
