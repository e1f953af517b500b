"""pidfd_open(2), pidfd_getfd(2), signals through pidfds, signalfd(2), and close_range(2).

What sends signals needs Python's own calls alone: the rest loads kernel.libc, which takes half a millisecond, when it is called.
"""

from __future__ import annotations

import os

from crate_runc.kernel import signals

_CLOSE_RANGE_CLOEXEC = 4
_SFD_CLOEXEC, _SFD_NONBLOCK = os.O_CLOEXEC, os.O_NONBLOCK
SIGNAL_RECORD = 128  # bytes of struct signalfd_siginfo; its first four are the number


def open_process(pid: int) -> int:
    """Raises ProcessLookupError. The caller closes the fd."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (1, 38):  # EPERM, ENOSYS: old seccomp filters, old kernels
            raise OSError(error.errno, f"{error.strerror}: pidfd_open(2), since Linux 5.3") from None
        raise


def take_descriptor(fd: int, number: int) -> int:
    """A descriptor of our own, close-on-exec, for what `number` is in the process of the pidfd `fd`. Takes the right to trace it."""
    from crate_runc.kernel.libc import syscall

    return syscall("pidfd_getfd", fd, number, 0)


def send_signal(fd: int, signal: int) -> None:
    signals.pidfd_send_signal(fd, signal)


def close_on_exec_from(first: int) -> None:
    """Every descriptor from `first` on, those inherited from careless callers too, ends at the next execve."""
    from crate_runc.kernel.libc import syscall

    syscall("close_range", first, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC)


def close_from(first: int, last: int = 0xFFFFFFFF) -> None:
    from crate_runc.kernel.libc import syscall

    syscall("close_range", first, last, 0)


def open_signals(numbers: set[int]) -> int:
    """Block `numbers` and return a non-blocking descriptor that reads them; the caller closes it."""
    from crate_runc.kernel.libc import syscall

    signals.pthread_sigmask(signals.SIG_BLOCK, numbers)
    mask = sum(1 << (number - 1) for number in numbers)
    return syscall("signalfd4", -1, mask.to_bytes(8, "little"), 8, _SFD_CLOEXEC | _SFD_NONBLOCK)
