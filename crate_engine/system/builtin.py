"""The C modules under `signal` and `socket`, typed as those: importing the Python halves costs a monitor 10 ms and half a megabyte (enum).

`socket.socket` is here without `accept`, `makefile` and use as a context manager; signal numbers are plain integers.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
else:
    import _signal as signal
    import _socket as socket

__all__ = ["signal", "socket"]
