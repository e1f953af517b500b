"""container.log: one JSON object a line, `{"log":…,"stream":…,"time":…}`, as docker's json-file driver writes it.

Text that is not UTF-8 keeps its bytes as lone surrogates (PEP 383). A line longer than 16 KiB is cut into entries of which only the last
ends with a newline. Rotation is not done here.
"""

from __future__ import annotations

import os
import time

from crate_engine.jsontext import quote

LONGEST = 16 << 10
"""Bytes of one entry's text."""


class LogWriter:
    """Appends what one container writes to its log."""

    def __init__(self, path: str) -> None:
        """Raises OSError, also where a link stands at `path`."""
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._unfinished: dict[str, bytes] = {}
        self._second = -1
        self._second_text = ""

    def write(self, stream: str, chunk: bytes) -> None:
        """Write the lines that are complete now; the rest waits for the next chunk, but never more than LONGEST bytes of it."""
        *lines, rest = (self._unfinished.pop(stream, b"") + chunk).split(b"\n")
        entries = [piece for line in lines for piece in _cut(line + b"\n")]
        while len(rest) >= LONGEST:
            entries.append(rest[:LONGEST])
            rest = rest[LONGEST:]
        if rest:
            self._unfinished[stream] = rest
        if entries:
            self._append(stream, entries)

    def close(self) -> None:
        """Write the unfinished lines and close the file."""
        for stream, rest in self._unfinished.items():
            self._append(stream, [rest])
        os.close(self._fd)

    def _append(self, stream: str, entries: list[bytes]) -> None:
        tail = f',"stream":"{stream}","time":"{self._now()}"}}\n'
        text = "".join([f'{{"log":{quote(entry.decode("utf-8", "surrogateescape"))}{tail}' for entry in entries])
        remaining = text.encode("ascii")
        while remaining:
            remaining = remaining[os.write(self._fd, remaining) :]

    def _now(self) -> str:
        second, nanosecond = divmod(time.time_ns(), 1_000_000_000)
        if second != self._second:
            self._second = second
            self._second_text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._second_text}.{nanosecond:09d}Z"


def _cut(line: bytes) -> list[bytes]:
    if len(line) <= LONGEST:
        return [line]
    return [line[start : start + LONGEST] for start in range(0, len(line), LONGEST)]
