"""Whoever listens at linux.seccomp.listenerPath: takes what a runtime sends, and answers the notifications with one error number.

seccomp_unotify(2): struct seccomp_notif is {u64 id, u32 pid, u32 flags, struct seccomp_data}, struct seccomp_notif_resp {u64 id, s64 val, s32 error,
u32 flags}.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import threading
from pathlib import Path
from typing import Any

_RECEIVE, _SEND = 0xC0502100, 0xC0182101
CONTINUE = -1
"""The answer that lets a call go on (SECCOMP_USER_NOTIF_FLAG_CONTINUE)."""


class Agent:
    """`states`: the container process states as they came; `calls`: the number of each system call that was asked about."""

    def __init__(self, path: Path, answer: int) -> None:
        self.path = path
        self.states: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self._answer = answer
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(path))
        self._server.listen()
        path.chmod(0o777)
        self._stop_reading, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        os.close(self._stop)
        self._thread.join()
        os.close(self._stop_reading)
        self._server.close()
        self.path.unlink()

    def _serve(self) -> None:
        poll = select.poll()
        listeners: list[int] = []
        poll.register(self._stop_reading, 0)
        poll.register(self._server, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == self._stop_reading:
                    for listener in listeners:
                        os.close(listener)
                    return
                if fd == self._server.fileno():
                    for listener in self._accept():
                        listeners.append(listener)
                        poll.register(listener, select.POLLIN)
                elif event & select.POLLIN:
                    self._decide(fd)
                else:  # nobody is left whom the filter concerns
                    poll.unregister(fd)

    def _accept(self) -> list[int]:
        """One state per connection. Not all runtimes close theirs at once: a state ends where its text is complete."""
        connection, _ = self._server.accept()
        with connection:
            text, fds, _, _ = socket.recv_fds(connection, 1 << 16, 8)
            while True:
                try:
                    self.states.append(json.loads(text))
                    return fds
                except ValueError:
                    part = connection.recv(1 << 16)
                    if not part:
                        raise
                    text += part

    def _decide(self, listener: int) -> None:
        request = bytearray(80)
        try:
            fcntl.ioctl(listener, _RECEIVE, request)
            (identity,) = struct.unpack_from("=Q", request)
            self.calls.append(struct.unpack_from("=I", request, 16)[0])
            error, flags = (0, 1) if self._answer == CONTINUE else (-self._answer, 0)
            fcntl.ioctl(listener, _SEND, struct.pack("=QqiI", identity, 0, error, flags))
        except OSError:
            return  # whoever asked was killed meanwhile
