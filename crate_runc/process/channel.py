"""The socket between the parent and the child: whole messages, each with the descriptors that travel with it (unix(7), SCM_RIGHTS).

The parent decodes nothing richer than text: in a shared pid namespace a process with CAP_SYS_PTRACE may reach the child's end.
"""

from __future__ import annotations

import _socket
import os

_LIMIT = 1 << 26  # bytes of a message; the largest is a bundle's configuration
_MAX_FDS = 200  # the kernel's limit is 253
_FD_BYTES = 4


class Channel:
    __slots__ = ("_socket",)

    def __init__(self, socket: _socket.socket) -> None:
        self._socket = socket

    def send(self, message: bytes, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Raises OSError (EPIPE) when the other side is gone. The descriptors stay open here."""
        header = len(message).to_bytes(4, "big")
        ancillary = (
            [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, b"".join(fd.to_bytes(_FD_BYTES, _ORDER) for fd in fds))] if fds else []
        )
        self._socket.sendmsg([header], ancillary, _socket.MSG_NOSIGNAL)
        self._socket.sendall(message, _socket.MSG_NOSIGNAL)

    def write(self, message: bytes) -> None:
        """A short message without descriptors, in a single write(2)."""
        os.write(self._socket.fileno(), frame(message))

    def receive(self) -> tuple[bytes, list[int]]:
        """The next message and its descriptors (close-on-exec, owned by the caller). Raises EOFError when the other side has ended."""
        space = _socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES)
        header, ancillary, _, _ = self._socket.recvmsg(4, space, _socket.MSG_CMSG_CLOEXEC)
        fds = [
            int.from_bytes(block[at : at + _FD_BYTES], _ORDER)
            for _, _, block in ancillary
            for at in range(0, len(block) - len(block) % _FD_BYTES, _FD_BYTES)
        ]
        size = int.from_bytes(header + self._exactly(4 - len(header)), "big")
        if size > _LIMIT:
            raise EOFError
        return self._exactly(size), fds

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._socket.recv(count)
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


def frame(message: bytes) -> bytes:
    """A message without descriptors, as it goes over the socket."""
    return len(message).to_bytes(4, "big") + message


def pair() -> tuple[Channel, Channel]:
    first, second = _socket.socketpair()
    return Channel(first), Channel(second)


def from_fd(fd: int) -> Channel:
    os.set_inheritable(fd, False)
    return Channel(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd))


_ORDER: _Order = "little"  # both architectures that are supported
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    _Order = Literal["little", "big"]
