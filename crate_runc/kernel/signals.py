"""Signal numbers and masks: the C module behind `signal`, whose Python half costs 4 ms at start for the sake of its enumerations."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

SIGKILL, SIGPIPE, SIGTERM, SIGCHLD, SIGSTOP, SIGWINCH = 9, 13, 15, 17, 19, 28
SIG_BLOCK, SIG_SETMASK = _signal.SIG_BLOCK, _signal.SIG_SETMASK
pthread_sigmask = _signal.pthread_sigmask
pidfd_send_signal = _signal.pidfd_send_signal
pause = _signal.pause
LAST = _signal.NSIG - 1
OF_LIBC = (32, 33)
"""Which the C library keeps for itself, and its posix_spawn lets be ignored: only the system call can change that."""


def reset() -> None:
    """What Python ignores or catches goes back to the default, and nothing is blocked: an execve keeps both."""
    for number in changed():
        _signal.signal(number, _signal.SIG_DFL)
    pthread_sigmask(SIG_SETMASK, ())


def changed() -> list[int]:
    """The signals that are ignored or caught here."""
    numbers = range(1, LAST + 1)
    return [
        number for number in numbers if _signal.getsignal(number) not in (_signal.SIG_DFL, None)
    ]  # None: kept by the C library
