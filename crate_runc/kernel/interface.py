"""Network interfaces (netdevice(7)): bring one up."""

from __future__ import annotations

import _socket
import fcntl
import struct

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_REQUEST = "16sH22x"  # struct ifreq: the name, then the flags


def bring_up(name: str) -> None:
    """In the caller's network namespace. Raises OSError."""
    socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        request = struct.pack(_REQUEST, name.encode(), 0)
        _, flags = struct.unpack(_REQUEST, fcntl.ioctl(socket.fileno(), _SIOCGIFFLAGS, request))
        fcntl.ioctl(socket.fileno(), _SIOCSIFFLAGS, struct.pack(_REQUEST, name.encode(), flags | _IFF_UP))
    finally:
        socket.close()
