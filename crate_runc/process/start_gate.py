"""The start gate: a fifo in the container's state directory on which the created container waits, without polling, for `start` (fifo(7)).

The parent opens it for reading before the child leaves the host's tree, so nothing has to be opened inside the container. `start` can
open it for writing only while somebody reads, which tells at once a container that has died; and its end is closed by the execve, which tells
that the program runs. How init waits is in steps/await_start.py.
"""

from __future__ import annotations

import errno
import os
import select

NAME = "start"
NEED = ("gate", "")


def make(directory: str) -> int:
    """The reading end; the caller closes it."""
    path = f"{directory}/{NAME}"
    os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def is_there(directory: str) -> bool:
    return os.path.exists(f"{directory}/{NAME}")


def pass_through(directory: str) -> bool:
    """Let the container go on, and wait until it runs its program or has ended. False: nobody waits at the gate."""
    path = f"{directory}/{NAME}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return False
        raise
    try:
        os.write(fd, b"g")
        poll = select.poll()
        poll.register(fd, 0)  # POLLERR: the last reader is gone
        poll.poll()
    finally:
        os.close(fd)
    os.unlink(path)
    return True
