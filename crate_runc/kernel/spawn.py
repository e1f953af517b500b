"""Run another program of the host to its end: absolute path, explicit environment, no descriptor but 0 to 2, /, a deadline (execve(2))."""

from __future__ import annotations

import os
import select
import time

from crate_runc.kernel import pidfd, signals

_CAPTURED = 64 << 10  # bytes of output kept


def run(
    path: str,
    arguments: list[str],
    environment: dict[str, str],
    text: bytes,
    *,
    timeout: float | None,
    share_output: bool = False,
) -> tuple[int, bytes]:
    """(exit status, output): `text` is the program's stdin, a negative status is the signal that ended it. Its stdout and stderr together
    are returned, unless it shares the caller's. Raises TimeoutError (the program and its session are killed first) and OSError when it cannot be started.
    """
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(in_read, 0)
        if not share_output:
            os.dup2(out_write, 1)
            os.dup2(out_write, 2)
        _execute(path, arguments, environment, tell)
    for fd in (in_read, out_write, tell):
        os.close(fd)
    process = pidfd.open_process(pid)
    try:
        failure = os.read(told, 16)
        if failure:
            raise OSError(int(failure), os.strerror(int(failure)), path)
        output = _talk(in_write, out_read, process, text, None if timeout is None else time.monotonic() + timeout)
    except BaseException:
        _kill_session(pid)
        raise
    finally:
        _, status = os.waitpid(pid, 0)
        for fd in (out_read, told, process):
            os.close(fd)
    return os.waitstatus_to_exitcode(status), output


def _kill_session(pid: int) -> None:
    """The program, which has not been collected yet, and what it started in its own process group."""
    try:
        os.killpg(pid, signals.SIGKILL)
    except ProcessLookupError:
        os.kill(pid, signals.SIGKILL)  # it has not come so far


def _execute(path: str, arguments: list[str], environment: dict[str, str], tell: int) -> None:
    try:
        os.setsid()
        signals.reset()
        os.chdir("/")
        os.set_inheritable(tell, False)
        pidfd.close_on_exec_from(3)
        os.execve(path, arguments, environment)
    except OSError as error:
        os.write(tell, b"%d" % (error.errno or 0))
    finally:
        os._exit(127)


def _talk(stdin: int, stdout: int, process: int, text: bytes, deadline: float | None) -> bytes:
    """Write `text`, collect what comes, until the process has ended; what its own children still hold open is not waited for."""
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    poll, output, ended = select.poll(), b"", False
    poll.register(process, select.POLLIN)
    poll.register(stdout, select.POLLIN)
    poll.register(stdin, select.POLLOUT)
    try:
        while not ended:
            left = None if deadline is None else max(0, deadline - time.monotonic()) * 1000
            events = poll.poll(left)
            if not events:
                raise TimeoutError
            for fd, _ in events:
                if fd == stdin:
                    try:
                        text = text[os.write(stdin, text) :] if text else b""
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        text = b""
                    if not text:
                        poll.unregister(stdin)
                        os.close(stdin)
                        stdin = -1
            part = _read(stdout)
            if part == b"":
                try:
                    poll.unregister(stdout)
                except KeyError:
                    pass
            output = (output + (part or b""))[:_CAPTURED]
            ended = any(fd == process for fd, _ in events)
        while part := _read(stdout):
            output = (output + part)[:_CAPTURED]
    finally:
        if stdin >= 0:
            os.close(stdin)
    return output


def _read(fd: int) -> bytes | None:
    """None: nothing there yet."""
    try:
        return os.read(fd, 16 << 10)
    except BlockingIOError:
        return None
