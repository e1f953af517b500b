"""A server that speaks D-Bus and answers as a test tells it to: for what real systemd does see tests/vm."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path
from typing import Any

from crate_runc.systemd import wire

JOB = "/org/freedesktop/systemd1/job/5"
Answer = tuple[int, str, tuple[Any, ...]]


class Server:
    """`answers` is member → (message type, signature, values) of each call in turn, the last one for all that follow; a member that starts
    a job also gets the signal of its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.welcome = b"DATA\r\nOK 0123\r\n"
        self.answers: dict[str, list[Answer]] = {"Hello": [(wire.RETURN, "s", (":1.5",))]}
        self.result = "done"
        self.error = "UnitExists"
        self.calls: list[tuple[str, list[Any]]] = []
        self.said = b""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        """One client after another."""
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                self._talk(client)
            except OSError:
                continue  # who tests what we say may go in the middle of it

    def _talk(self, client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            self.said = stream.readline() + stream.readline()
            client.sendall(self.welcome)
            if not stream.readline():
                return
            while head := stream.read(wire.FIXED_HEADER):
                message = wire.parse(head + stream.read(wire.length(head) - len(head)))
                self._answer(client, message, struct.unpack("=I", head[8:12])[0])

    def _answer(self, client: socket.socket, message: wire.Message, serial: int) -> None:
        member = message.fields[wire.MEMBER]
        self.calls.append((member, message.body))
        answers = self.answers.get(member, [(wire.RETURN, "", ())])
        kind, signature, values = answers.pop(0) if len(answers) > 1 else answers[0]
        if member == "Get":
            values = ({"Version": ("s", "252"), "ControlGroup": ("s", "/top")}[message.body[1]],)
            signature = "v"
        if signature == "o":  # the job ends before its number is known, and another one ends first
            for job, result in ((f"{JOB}9", "failed"), (JOB, self.result)):
                signal = {wire.MEMBER: "JobRemoved", wire.PATH: "/org/freedesktop/systemd1"}
                client.sendall(_message(wire.SIGNAL, signal, "uoss", (5, job, "u.scope", result)))
        fields: dict[int, Any] = {wire.REPLY_SERIAL: serial}
        if kind == wire.ERROR:
            fields[wire.ERROR_NAME] = f"org.freedesktop.systemd1.{self.error}"
        raw = _message(kind, fields, signature, values)
        client.sendall(raw[:20])
        client.sendall(raw[20:])


def _message(kind: int, fields: dict[int, Any], signature: str, values: tuple[Any, ...]) -> bytes:
    raw = bytearray(wire.call(9, fields, signature, values))
    raw[1] = kind
    return bytes(raw)
