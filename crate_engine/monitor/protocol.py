"""What a monitor and its clients say to each other over a unix stream socket: frames of a kind (one byte), a length (four bytes, big
endian) and that many bytes.

| to the monitor | payload |
|---|---|
| `I` instructions | marshal; only as the first frame on the socket the monitor was started with |
| `A` attach | empty: send me the output from now on |
| `i` standard input | bytes |
| `e` end of standard input | empty |
| `w` window size | rows and columns, two bytes each |

| from the monitor | payload |
|---|---|
| `S` started | marshal: (pid, start time) of the process |
| `F` failed | marshal: (exit status, text, hint): the process never ran |
| `o` `r` | standard output and standard error |
| `x` exited | the exit status as decimal text; the last frame |
"""

from __future__ import annotations

INSTRUCTIONS, ATTACH, STDIN, STDIN_END, WINDOW = b"I", b"A", b"i", b"e", b"w"
STARTED, FAILED, STDOUT, STDERR, EXITED = b"S", b"F", b"o", b"r", b"x"

CLIENT_FRAME = 64 << 10
"""The longest frame a client may send, in bytes."""
INSTRUCTIONS_FRAME = 64 << 20
"""The longest frame on the socket that the monitor was started with, and from a monitor: the same user wrote both ends."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload


class Frames:
    """Cuts a byte stream into frames: `feed` it what was received, then iterate; an unfinished frame waits for the next feed."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int) -> None:
        self._buffer = bytearray()
        self.limit = limit

    def feed(self, received: bytes) -> list[tuple[bytes, bytes]]:
        """The frames that are complete now. Raises ValueError for a frame longer than the limit."""
        self._buffer += received
        complete = []
        start = 0
        while len(self._buffer) - start >= 5:
            length = int.from_bytes(self._buffer[start + 1 : start + 5], "big")
            if length > self.limit:
                raise ValueError(f"a frame of {length} bytes is too long")
            end = start + 5 + length
            if len(self._buffer) < end:
                break
            complete.append((bytes(self._buffer[start : start + 1]), bytes(self._buffer[start + 5 : end])))
            start = end
        del self._buffer[:start]
        return complete
