"""Running a low-level runtime: one function starts it, one reads why it failed (the JSON lines of `--log`, as runc and podman agree on them).

Runs in the monitor. An exit status is the runtime's, never the container's.
"""

from __future__ import annotations

import os
import sys

from crate_engine import jsontext
from crate_engine.errors import HostError, RuntimeFailed
from crate_engine.monitor.launch import SAFE_PATH
from crate_engine.monitor.process import reset_signals
from crate_engine.runtime.command import Runtime
from crate_engine.system.process import open_sealed_interpreter, sealed_environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LOG_BYTES = 64 << 10
_STATUS_OF_TEXT = (
    ("executable file not found", 127),
    ("no such file or directory", 127),
    ("permission denied", 126),
    ("is a directory", 126),
    ("exec format error", 126),
)


def find(name: str, root: str) -> Runtime:
    """The runtime called `name`: crate-runc beside this package, a program on PATH, or an absolute path. Raises HostError."""
    own = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "crate_runc", "__main__.py")
    if name == "crate-runc" and os.path.exists(own):
        python = os.path.realpath(sys.executable)
        return Runtime((python, "-I", "-S", own), root, own_python=True)
    if "/" in name:
        if not os.access(name, os.X_OK) or os.path.isdir(name):
            raise HostError(
                f"find the runtime {name}: not an executable file", hint="check --runtime and the key runtime of the settings"
            )
        return Runtime((os.path.abspath(name),), root)
    for directory in (*os.environ.get("PATH", "").split(":"), *SAFE_PATH.split(":")):
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK) and not os.path.isdir(path):
            return Runtime((path,), root)
    raise HostError(f"find the runtime {name}: not found in PATH", hint="install it, or leave --runtime out to use crate-runc")


def spawn(runtime: Runtime, arguments: list[str], stdio: tuple[int, int, int]) -> int:
    """Start the runtime with these three fds as its standard streams; returns its pid, which the caller waits for.

    Our own interpreter starts sealed, so that the runtime need not start itself a second time.
    """
    sealed = open_sealed_interpreter() if runtime.own_python else None
    environment = {"PATH": os.environ.get("PATH", SAFE_PATH)} | (sealed_environment() if sealed is not None else {})
    if "XDG_RUNTIME_DIR" in os.environ:
        environment["XDG_RUNTIME_DIR"] = os.environ["XDG_RUNTIME_DIR"]
    pid = os.fork()
    if pid == 0:
        _execute(arguments, stdio, sealed, environment)
    if sealed is not None:
        os.close(sealed)
    return pid


def _execute(arguments: list[str], stdio: tuple[int, int, int], sealed: int | None, environment: Mapping[str, str]) -> None:
    try:
        # Above 2 first: a stream may be one of the fds that are about to be replaced.
        for number, fd in enumerate([_above_standard(fd) for fd in stdio]):
            os.dup2(fd, number, inheritable=True)
        reset_signals()
        os.execve(sealed if sealed is not None else arguments[0], arguments, environment)
    except BaseException as error:
        os.write(2, f"{arguments[0]}: {error}".encode(errors="replace"))
    finally:
        os._exit(127)


def _above_standard(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def run_quietly(runtime: Runtime, arguments: list[str]) -> int:
    """Run to the end with no streams; returns the exit status."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        pid = spawn(runtime, arguments, (null, null, null))
    finally:
        os.close(null)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def failure(runtime: Runtime, status: int, log: str, said: bytes) -> RuntimeFailed:
    """The error for a failed `create`, `start` or `exec`: the last error of the log, else what came on standard error (`said`)."""
    text = _last_error(log) or said.decode("utf-8", "replace").strip().rpartition("\n")[2]
    if not text:
        ending = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
        text = f"{os.path.basename(runtime.program[-1])} {ending} and said nothing"
    return RuntimeFailed(text, exit_code=exit_code_of(text))


def exit_code_of(text: str) -> int:
    """126 and 127 as docker and podman map runtimes' texts, else 125."""
    lower = text.lower()
    for part, code in _STATUS_OF_TEXT:
        if part in lower:
            return code
    return 125


def _last_error(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read(_LOG_BYTES).splitlines()
    except OSError:
        return ""
    for line in reversed(lines):
        try:
            entry = jsontext.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic") and isinstance(entry.get("msg"), str):
            return str(entry["msg"])
    return ""
