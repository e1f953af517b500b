"""What a server can do wrong with one request, and how a fault is written down; the tables are in fault_bodies and fault_answers."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

Request = BaseHTTPRequestHandler
PATIENCE = 6.0
"""Seconds for which a server that keeps its client waiting does so; a client that gives up in time does not find out."""


class Place:
    """One request that is answered wrongly: what should have been sent, and how often this one has been asked."""

    def __init__(self, request: Request, content: bytes, kind: str, count: int, server: Any) -> None:
        self.request = request
        self.content = content
        self.kind = kind
        self.count = count
        self.server = server

    # what a server can do

    def send(self, head: str | bytes, body: bytes = b"", *, close: bool = True) -> None:
        """`head` is what follows `HTTP/1.1 `, with lines that end in \\n; the last of them is sent as well."""
        if isinstance(head, str):
            head = head.encode("latin-1")
        self.raw(b"HTTP/1.1 " + head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + body, close=close)

    def raw(self, content: bytes, *, close: bool = True) -> None:
        self.request.wfile.write(content)
        self.request.wfile.flush()
        self.request.close_connection = close

    def whole(self, **headers: str) -> None:
        """The right answer, with these headers more."""
        lines = "".join(f"\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
        self.send(f"200 OK\nContent-Type: {self.kind}\nContent-Length: {len(self.content)}{lines}", self.content, close=False)

    def status(self, status: str, **headers: str) -> None:
        lines = "".join(f"\n{name.replace('_', '-')}: {value}" for name, value in headers.items())
        self.send(f"{status}\nContent-Length: 0{lines}", close=False)

    def cut(self, at: int) -> None:
        """Announce all, send the beginning, and end the connection."""
        self.send(f"200 OK\nContent-Type: {self.kind}\nContent-Length: {len(self.content)}", self.content[:at])
        self.request.connection.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End the connection with RST instead of FIN."""
        connection = self.request.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.request.close_connection = True
        connection.close()

    def drip(self, content: bytes, pause: float = 0.1) -> None:
        """One byte at a time, for PATIENCE seconds at most."""
        end = time.monotonic() + PATIENCE
        for byte in content:
            if time.monotonic() > end or self.server.closing.wait(pause):
                break
            self.request.wfile.write(bytes([byte]))
        else:
            self.server.dripped_dry.append(self.request.path)
        self.request.close_connection = True

    def silence(self) -> None:
        """Nothing more, until the client gives up."""
        connection = self.request.connection
        connection.settimeout(PATIENCE)
        try:
            connection.recv(1)
        except OSError:
            pass
        self.request.close_connection = True

    @property
    def offset(self) -> int:
        """Where the request wants the content from."""
        return int((self.request.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))

    def part(self, start: int, said: str, status: str = "206 Partial Content") -> None:
        body = self.content[start:]
        self.send(f"{status}\nContent-Range: {said}\nContent-Length: {len(body)}", body, close=False)


Act = Callable[[Place], None]


@dataclass(frozen=True)
class Fault:
    """`ends` are the classes of errors that may come of it, "" for an image that is right; `layers_only`: it is one of a Range, which documents have not."""

    name: str
    act: Act
    ends: tuple[str, ...]
    passing: bool = False
    layers_only: bool = False
    sizes_matter: bool = False
    limits: tuple[tuple[str, int], ...] = ()


GONE = ("RegistryUnreachable",)
WRONG = ("DigestMismatch", "ImageError", "RegistryUnreachable")
BABBLE = ("RegistryUnreachable", "RegistryError")
HURRY = (("STALL_SECONDS", 1), ("ATTEMPTS", 2), ("CONNECT_SECONDS", 1))


class Table:
    """`faults` in the order in which they were put in."""

    def __init__(self, **options: Any) -> None:
        """`options` are those of all its faults."""
        self.faults: list[Fault] = []
        self._options = options

    def fault(self, name: str, *ends: str, **options: Any) -> Callable[[Act], Act]:
        def add(act: Act) -> Act:
            self.simple(name, act, *ends, **options)
            return act

        return add

    def simple(self, name: str, act: Act, *ends: str, **options: Any) -> None:
        self.faults.append(Fault(name, act, ends or GONE, **self._options, **options))


def chunk(content: bytes, extension: bytes = b"") -> bytes:
    return b"%x" % len(content) + extension + b"\r\n" + content + b"\r\n"


def framed(place: Place, length: str, body: bytes, *, close: bool = True) -> None:
    place.send(f"200 OK\nContent-Type: {place.kind}{length}", body, close=close)


def endless(place: Place, head: str, block: bytes) -> None:
    place.send(head)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        place.request.wfile.write(block)
    place.server.dripped_dry.append(place.request.path)
