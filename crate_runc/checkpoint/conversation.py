"""criu as a child that answers requests (`criu swrk FD`): started, asked, and listened to until it is done.

criu starts the restored process as a sibling, so it is this process's child. Descriptors in a request are numbers of this process, which criu
opens through /proc; only those it passes on (`inherited`) keep their number in it. Nothing here knows what a container is.
"""

from __future__ import annotations

import _socket
import os

from crate_runc.checkpoint import request
from crate_runc.errors import RuncError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_runc.checkpoint.request import Answer

    Listener = Callable[[Answer, list[int]], None]

OLDEST = 31100
"""3.11 is the first that takes network namespaces from outside and a configuration file."""
_MISSING = "install criu (Debian package criu), or name it with --criu"
_PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MESSAGE_BYTES = 1 << 16
_LOG_BYTES = 1 << 16


def find(named: str) -> str:
    """The path of criu. `named` is what --criu says. Raises RuncError. Callers such as podman may have no PATH."""
    program = named or "criu"
    if "/" in program:
        candidates = [program]
    else:
        search = [*os.environ.get("PATH", "").split(":"), *_PLACES.split(":")]
        candidates = [f"{directory}/{program}" for directory in search if directory.startswith("/")]
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise RuncError(f"checkpoint and restore need criu, and there is no program {program}: {_MISSING}")


def check(named: str) -> tuple[str, int]:
    """The program and its version (31701 for 3.17.1). Raises RuncError where it is missing, too old or does not answer."""
    program = find(named)
    version = ask(program, request.encode(request.VERSION)).version
    if version < OLDEST:
        text = f"{version // 10000}.{version // 100 % 100}"
        raise RuncError(f"checkpoint and restore need criu 3.11 or newer, and {program} is {text}: {_MISSING}")
    return program, version


def check_host(named: str) -> None:
    """Whether it really works here: criu reads the kernel's ways when it starts, and one that is older than the kernel may not understand
    them. Raises RuncError."""
    program, _ = check(named)
    said, saying = os.pipe()
    os.set_blocking(said, False)
    os.set_blocking(saying, False)  # what does not fit is not needed
    try:
        ask(program, request.encode(request.FEATURE_CHECK, features=("mem_track",)), output=saying)
    except RuncError:
        os.write(saying, b"\n")
        words = _errors(os.read(said, _LOG_BYTES)) or ["it does not say why"]
        raise RuncError(
            f"{program} does not work on this host: {'; '.join(words[:2])}; try `criu check` and a newer criu"
        ) from None
    finally:
        os.close(said)
        os.close(saying)


def ask(
    program: str,
    message: bytes,
    *,
    listener: Listener | None = None,
    inherited: list[int] | None = None,
    before: Callable[[int], bytes] | None = None,
    output: int | None = None,
) -> Answer:
    """Send one request and return its answer. `listener` hears the notifications, with the descriptors that come along (it closes them).
    before: called with criu's pid; its bytes are the request. output: a descriptor in place of stdout and stderr. Raises RuncError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    pid = _start(program, theirs.fileno(), inherited or [], output)
    theirs.close()
    try:
        ours.send(before(pid) if before else message)
        answer = _listen(program, ours, listener)
    finally:
        ours.close()
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if not answer.success:
        what = f": {answer.message}" if answer.message else f" (error {answer.errno})" if answer.errno else ""
        raise RuncError(f"criu failed: type {request.KINDS.get(answer.kind, answer.kind)}{what}")
    if status and answer.kind in (request.DUMP, request.RESTORE):
        raise RuncError(f"criu failed: it ended with {f'signal {-status}' if status < 0 else f'status {status}'}")
    return answer


def _start(program: str, channel: int, inherited: list[int], output: int | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        if output is not None:
            os.dup2(output, 1)
            os.dup2(output, 2)
        for fd in (channel, *inherited):
            os.set_inheritable(fd, True)
        os.execv(program, [program, "swrk", str(channel)])
    except OSError as error:
        os.write(2, f"start {program}: {reason(error)}\n".encode())
    finally:
        os._exit(127)


def _listen(program: str, channel: _socket.socket, listener: Listener | None) -> Answer:
    """Until the answer itself comes."""
    while True:
        try:
            raw, ancillary, _, _ = channel.recvmsg(_MESSAGE_BYTES, _socket.CMSG_SPACE(4 * 8), _socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            raw, ancillary = b"", []
        if not raw:
            raise RuncError(f"{program} ended without an answer")
        fds = [int.from_bytes(block[at : at + 4], "little") for *_, block in ancillary for at in range(0, len(block) & ~3, 4)]
        try:
            answer = request.Answer(raw)
        except ValueError as error:
            raise RuncError(f"{program}: its answer cannot be read: {error}") from None
        if answer.kind != request.NOTIFY or not answer.success:
            return answer
        if listener:
            listener(answer, fds)
        channel.send(request.encode_answer(success=True))


def with_log(error: RuncError, path: str) -> RuncError:
    """The same, with the lines of criu's log that say what went wrong, and where the log is."""
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_BYTES))
            said = _errors(file.read(_LOG_BYTES))
    except OSError:
        return error
    return RuncError(f"{error}{'; ' if said else ''}{'; '.join(said[:3])}; log file: {path}")


def _errors(log: bytes) -> list[str]:
    """`Error (criu/vdso.c:381): vdso: …` without what is for criu's authors."""
    lines = log.decode("utf-8", "replace").splitlines()
    said = [line.partition("Error ")[2].partition("): ")[2] or line for line in lines if "Error (" in line]
    return ["".join(filter(str.isprintable, line)) for line in said]
