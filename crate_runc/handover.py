"""What create, run and exec take from their caller beside the bundle, and give him: preserved descriptors, the pid file, the pidfd socket, and the
listener of a seccomp filter."""

from __future__ import annotations

import os

from crate_runc.errors import RuncError, StateError, StepError, reason, warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from crate_runc.host import HostFacts
    from crate_runc.options import Options


def compiled_seccomp(configuration: dict[str, Any], state_root: str) -> bytes:
    """linux.seccomp as a BPF program, empty where there is none."""
    seccomp = configuration.get("linux", {}).get("seccomp")
    if not seccomp:
        return b""
    from crate_runc.seccomp import cache

    return cache.load(seccomp, state_root)


def listener_of(configuration: dict[str, Any], state: dict[str, Any]) -> Callable[[Any, int], None] | None:
    """Who gets the descriptor of a filter with SCMP_ACT_NOTIFY, of a process that has `fd` and `pid`."""
    seccomp = configuration.get("linux", {}).get("seccomp")
    if not seccomp or not seccomp.get("listenerPath"):
        return None
    from crate_runc.seccomp import listener

    return listener.of(seccomp, state)


def warn_of_capabilities(process: dict[str, Any], facts: HostFacts, *, has_user_namespace: bool) -> None:
    """runtime-spec, config.md: what cannot be granted is no failure, but a warning. In a user namespace all are there to be granted."""
    if not process.get("capabilities"):
        return
    from crate_runc.kernel import capability
    from crate_runc.steps import user

    names = user.unavailable(process, facts.last_capability, -1 if has_user_namespace else capability.get()[1])
    if names:
        warnings.append(f"ignoring unknown or unavailable capabilities: [{' '.join(names)}]")


def check_preserved(count: int) -> None:
    """Descriptors 3… that the caller promised: those of ours are all close-on-exec."""
    for fd in range(3, 3 + count):
        try:
            given = os.get_inheritable(fd)
        except OSError:
            given = False
        if not given:
            raise StateError(f"unable to preserve file descriptor {fd}: it is not open")


def write_pid_file(path: str, pid: int) -> None:
    """Whoever waits for the file finds it whole."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise RuncError(f"write pid file {path}: {(error.strerror or '').lower()}") from None


def connect_console(path: str) -> int:
    """A connected descriptor, which the caller closes. Raises StepError."""
    from crate_runc.kernel import unix_socket

    try:
        return unix_socket.connect(path).detach()
    except OSError as error:
        text = (error.strerror or "timed out").lower()
        raise StepError("console socket", error.errno or 0, f"connect to console socket {path}: {text}") from None


def connect_pidfd_socket(options: Options) -> _socket.socket | None:
    """Before anything is made. Raises RuncError."""
    if not options.pidfd_socket:
        return None
    from crate_runc.kernel import unix_socket

    try:
        return unix_socket.connect(options.pidfd_socket)
    except OSError as error:
        raise RuncError(f"connect to pidfd socket {options.pidfd_socket}: {reason(error)}") from None


def send_pidfd(receiver: _socket.socket, options: Options, pidfd: int, word: bytes) -> None:
    """One message; with runc its text is "standard" for a container and "setns" for exec. Raises RuncError."""
    from crate_runc.kernel import unix_socket

    try:
        unix_socket.send_descriptor(receiver, word, pidfd)
    except OSError as error:
        raise RuncError(f"send the pidfd to {options.pidfd_socket}: {reason(error)}") from None
    finally:
        receiver.close()
