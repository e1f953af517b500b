"""Unix sockets by path, of any length, and descriptors sent through them (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import _socket
import os

_PATH_MAX = 107  # bytes of sun_path but for the final zero
STREAM, DATAGRAM = _socket.SOCK_STREAM, _socket.SOCK_DGRAM


def connect(path: str, kind: int = STREAM) -> _socket.socket:
    """A connected socket, close-on-exec, owned by the caller. `@name` is an abstract one. Raises OSError; a listener that does not
    accept within two seconds is TimeoutError."""
    socket = _socket.socket(_socket.AF_UNIX, kind | _socket.SOCK_CLOEXEC)
    try:
        socket.settimeout(2)
        _at(path, socket.connect)
        socket.settimeout(None)
    except BaseException:
        socket.close()
        raise
    return socket


def bind_datagram(path: str) -> _socket.socket:
    """A new socket at a path that is free, non-blocking, owned by the caller."""
    socket = _socket.socket(_socket.AF_UNIX, DATAGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    try:
        _at(path, socket.bind)
    except BaseException:
        socket.close()
        raise
    return socket


def _at(path: str, act: Callable[[str], object]) -> None:
    if path.startswith("@"):
        act("\0" + path[1:])
        return
    if len(os.fsencode(path)) <= _PATH_MAX:
        act(path)
        return
    directory, _, name = path.rpartition("/")
    parent = os.open(directory or "/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        act(f"/proc/self/fd/{parent}/{name}")
    finally:
        os.close(parent)


def send_descriptor(socket: _socket.socket, word: bytes, fd: int) -> int:
    """One message with one descriptor, which stays open here. How many bytes of `word` went, on a stream perhaps not all."""
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fd.to_bytes(4, "little"))]  # both architectures are little-endian
    return socket.sendmsg([word], rights, _socket.MSG_NOSIGNAL)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
