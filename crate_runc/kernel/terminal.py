"""Pseudo-terminals (pty(7), ioctl_tty(2)) and the raw mode of a real one (termios(3)).

The slave is always opened through the master, never by a name that could lead elsewhere (CVE-2025-52565).
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import termios

_TIOCGPTPEER, _TIOCSPTLCK, _TIOCSCTTY = 0x5441, 0x40045431, 0x540E
_PTMX, _SLAVE_MAJORS = (5, 2), range(136, 144)


def check_master(fd: int) -> None:
    """Raises OSError unless `fd` is a master of some devpts."""
    if _numbers(fd) != _PTMX:
        raise OSError(errno.ENOTTY, "not a pseudo-terminal multiplexer")


def open_slave(master: int) -> int:
    """Unlock the slave and open it; the caller closes the fd, and the terminal does not become anyone's controlling terminal."""
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
    slave = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if _numbers(slave)[0] not in _SLAVE_MAJORS:
        os.close(slave)
        raise OSError(errno.ENOTTY, "not a pseudo-terminal")
    return slave


def is_slave(fd: int) -> bool:
    return _numbers(fd)[0] in _SLAVE_MAJORS


def make_controlling(fd: int) -> None:
    """The caller leads a session without a terminal."""
    fcntl.ioctl(fd, _TIOCSCTTY, 0)


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def copy_size(source: int, target: int) -> None:
    fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))


def make_raw(fd: int) -> list[object]:
    """Set raw mode as cfmakeraw(3) does; what is returned goes to `restore`."""
    before = termios.tcgetattr(fd)
    mode = termios.tcgetattr(fd)
    mode[0] &= ~(
        termios.IGNBRK
        | termios.BRKINT
        | termios.PARMRK
        | termios.ISTRIP
        | termios.INLCR
        | termios.IGNCR
        | termios.ICRNL
        | termios.IXON
    )
    mode[1] &= ~termios.OPOST
    mode[2] = mode[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    mode[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(fd, termios.TCSANOW, mode)
    return before


def restore(fd: int, before: list[object]) -> None:
    termios.tcsetattr(fd, termios.TCSANOW, before)  # type: ignore[arg-type]


def disable_newline_translation(fd: int) -> None:
    """What a program prints arrives as it printed it: the terminal at the far end adds the carriage returns."""
    mode = termios.tcgetattr(fd)
    mode[1] &= ~termios.ONLCR
    termios.tcsetattr(fd, termios.TCSANOW, mode)


def _numbers(fd: int) -> tuple[int, int]:
    device = os.fstat(fd).st_rdev
    return os.major(device), os.minor(device)
