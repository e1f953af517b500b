"""Faults of bodies and connections: how long a body is, chunks, encodings, and what breaks, stalls or is no answer at all."""

from __future__ import annotations

import gzip
import time

from tests.support.faulty import BABBLE, GONE, HURRY, PATIENCE, WRONG, Place, Table, chunk, endless, framed

TABLE = Table(sizes_matter=True)
fault, simple = TABLE.fault, TABLE.simple

# how long the body is

simple("length one too small", lambda at: framed(at, f"\nContent-Length: {len(at.content) - 1}", at.content), *WRONG)
simple("length one too large", lambda at: framed(at, f"\nContent-Length: {len(at.content) + 1}", at.content), "", *WRONG)
simple("length ten times too large", lambda at: framed(at, f"\nContent-Length: {10 * len(at.content)}", at.content), "", *WRONG)
simple("length nought", lambda at: framed(at, "\nContent-Length: 0", b""), *WRONG)
simple("no length, to the end of the connection", lambda at: framed(at, "", at.content), "")
simple("no length, and half of it", lambda at: framed(at, "", at.content[: len(at.content) // 2]), *WRONG)
simple("no length, and one byte more", lambda at: framed(at, "", at.content + b"x"), *WRONG)
simple("negative length", lambda at: framed(at, "\nContent-Length: -1", at.content), "", *WRONG)
simple("length that is no number", lambda at: framed(at, "\nContent-Length: many", at.content), "", *WRONG)
simple("length in other digits", lambda at: framed(at, "\nContent-Length: 0x10", at.content), "", *WRONG)
simple("length of 30 digits", lambda at: framed(at, f"\nContent-Length: {'9' * 30}", at.content), "", *WRONG)
simple("the same length twice", lambda at: framed(at, f"\nContent-Length: {len(at.content)}" * 2, at.content), "", *WRONG)
simple("two lengths", lambda at: framed(at, f"\nContent-Length: {len(at.content)}\nContent-Length: 5", at.content), "", *WRONG)
simple(
    "an endless body without a length",
    lambda at: endless(at, "200 OK\nContent-Type: application/octet-stream", b"x" * 65536),
    *("DigestMismatch", "ImageError", "LayerError"),
)
simple(
    "one bit is wrong",
    lambda at: framed(at, f"\nContent-Length: {len(at.content)}", at.content[:-1] + bytes([at.content[-1] ^ 1])),
    *WRONG,
)
simple("another blob", lambda at: framed(at, f"\nContent-Length: {len(at.content)}", bytes(len(at.content))), *WRONG)
simple("an error page", lambda at: framed(at, "\nContent-Length: 17", b"<html>busy</html>"), *WRONG)


# chunks

_CHUNKED = "\nTransfer-Encoding: chunked"
simple(
    "chunks",
    lambda at: framed(at, _CHUNKED, chunk(at.content[:100]) + chunk(at.content[100:]) + b"0\r\n\r\n", close=False),
    "",
)
simple(
    "chunks of one byte",
    lambda at: framed(
        at,
        _CHUNKED,
        b"".join(chunk(bytes([byte])) for byte in at.content[:2000])
        + (chunk(at.content[2000:]) if at.content[2000:] else b"")
        + b"0\r\n\r\n",
        close=False,
    ),
    "",
)
simple("chunks without an end", lambda at: framed(at, _CHUNKED, chunk(at.content)), "", *WRONG)
simple(
    "chunks that end too early",
    lambda at: framed(at, _CHUNKED, chunk(at.content[: len(at.content) // 2]) + b"0\r\n\r\n", close=False),
    *WRONG,
)
simple("chunks cut in the middle", lambda at: framed(at, _CHUNKED, chunk(at.content)[: len(at.content) // 2]), *WRONG)
simple("chunks with trailers", lambda at: framed(at, _CHUNKED, chunk(at.content) + b"0\r\nX: y\r\n\r\n", close=False), "")
simple("chunk of no hexadecimal size", lambda at: framed(at, _CHUNKED, b"size\r\n" + at.content), *WRONG)
simple("chunk of a huge size", lambda at: framed(at, _CHUNKED, b"f" * 16 + b"\r\n" + at.content), "", *WRONG)
simple("chunk of a negative size", lambda at: framed(at, _CHUNKED, b"-5\r\n" + at.content), "", *WRONG)
simple(
    "chunk with a long extension",
    lambda at: framed(at, _CHUNKED, chunk(at.content, b";" + b"x" * 100_000) + b"0\r\n\r\n"),
    "",
    *WRONG,
)
simple(
    "chunks and a length",
    lambda at: framed(at, f"{_CHUNKED}\nContent-Length: 5", chunk(at.content) + b"0\r\n\r\n", close=False),
    "",
    *WRONG,
)
simple(
    "chunks that never end",
    lambda at: endless(at, f"200 OK{_CHUNKED}", chunk(b"x" * 65536)),
    "DigestMismatch",
    "ImageError",
    "LayerError",
)
simple(
    "an unknown transfer coding",
    lambda at: framed(at, f"\nTransfer-Encoding: gzip\nContent-Length: {len(at.content)}", at.content),
    "",
    *WRONG,
)

# encodings

simple("compressed though not asked for", lambda at: _encoded(at, gzip.compress(at.content, mtime=0)), *WRONG)
simple("said to be compressed, and is not", lambda at: _encoded(at, at.content), "", *WRONG)
simple("a bomb in the content encoding", lambda at: _encoded(at, gzip.compress(bytes(50 << 20), 9, mtime=0)), *WRONG)


def _encoded(place: Place, body: bytes) -> None:
    place.send(f"200 OK\nContent-Type: {place.kind}\nContent-Encoding: gzip\nContent-Length: {len(body)}", body, close=False)


# connections

for _where, _at in (("at the beginning", 0), ("after one byte", 1), ("in the middle", None), ("before the last byte", -1)):

    def _cut(place: Place, at: int | None = _at) -> None:
        place.cut(len(place.content) // 2 if at is None else at)

    simple(f"cut {_where}", _cut)
    simple(f"cut {_where}, once", _cut, "", passing=True)
simple("reset before the answer", lambda at: at.reset())
simple("reset before the answer, once", lambda at: at.reset(), "", passing=True)
simple("closed without an answer", lambda at: at.raw(b""))
simple("closed without an answer, once", lambda at: at.raw(b""), "", passing=True)


@fault("reset after the headers")
def _(place: Place) -> None:
    place.send(f"200 OK\nContent-Length: {len(place.content)}")
    place.reset()


@fault("reset in the middle, once", "", passing=True)
def _(place: Place) -> None:
    place.send(f"200 OK\nContent-Length: {len(place.content)}", place.content[: len(place.content) // 2])
    time.sleep(0.1)
    place.reset()


simple("silence before the answer", lambda at: at.silence(), limits=HURRY)
simple("silence before the answer, once", lambda at: at.silence(), "", passing=True, limits=HURRY)


@fault("silence after the headers", limits=HURRY)
def _(place: Place) -> None:
    place.send(f"200 OK\nContent-Length: {len(place.content)}")
    place.silence()


@fault("silence before the last byte", limits=HURRY)
def _(place: Place) -> None:
    place.send(f"200 OK\nContent-Length: {len(place.content)}", place.content[:-1])
    place.silence()


@fault("a body byte by byte", "", *GONE, limits=HURRY)
def _(place: Place) -> None:
    place.send(f"200 OK\nContent-Length: {len(place.content)}")
    place.drip(place.content)


@fault("headers byte by byte", limits=HURRY)
def _(place: Place) -> None:
    place.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000 + b"\r\n\r\n")


# what is no answer

simple("another protocol", lambda at: at.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), *BABBLE)
simple("a body without headers", lambda at: at.raw(at.content), *BABBLE)
simple("a status of two digits", lambda at: at.send("20 OK\nContent-Length: 0"), *BABBLE)
simple("a status of four digits", lambda at: at.send("2000 OK\nContent-Length: 0"), *BABBLE)
simple("a status that is no number", lambda at: at.send("OK OK\nContent-Length: 0"), *BABBLE)
simple("a long status line", lambda at: at.send("200 " + "x" * 100_000 + "\nContent-Length: 0"), *BABBLE)
simple("too many headers", lambda at: at.whole(**{f"X{number}": "y" for number in range(1000)}), "", *BABBLE)
simple("a header of 100 KB", lambda at: at.whole(X="y" * 100_000), "", *BABBLE)
simple("headers without end", lambda at: _endless_headers(at), *BABBLE)
simple(
    "a header without a colon",
    lambda at: at.send(f"200 OK\nnonsense\nContent-Length: {len(at.content)}", at.content),
    "",
    *BABBLE,
)
simple("a folded header", lambda at: at.send(f"200 OK\nX: a\n  b\nContent-Length: {len(at.content)}", at.content), "", *BABBLE)
simple("control characters in a header", lambda at: at.whole(X="a\0\x1b[31m\x7f"), "", *BABBLE)
simple("other letters in a header", lambda at: at.whole(X="\xe4\xff"), "")
simple("100 Continue before the answer", lambda at: _continue(at, 1), "")
simple("a thousand times 100 Continue", lambda at: _continue(at, 1000), "", *BABBLE)
simple("101 Switching Protocols", lambda at: at.send("101 Switching Protocols\nUpgrade: x"), *BABBLE)


def _continue(place: Place, times: int) -> None:
    place.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * times, close=False)
    place.whole()


def _endless_headers(place: Place) -> None:
    place.raw(b"HTTP/1.1 200 OK\r\n")
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        place.request.wfile.write(b"X: " + b"y" * 60_000 + b"\r\n")
    place.server.dripped_dry.append(place.request.path)
