"""process.cwd, env and args: the last steps, up to execve(2).

The program is looked for before the container counts as created, so that a missing one is an error of `create`; texts and exit status of the
callers depend on the words. What a shell would do with args is not done here.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import path, pidfd, prctl, signals
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from crate_runc.steps.step import ChildContext

_PASSWD_LIMIT = 1 << 20
_LINE_LIMIT = 4 << 10


def plan_setup(process: dict[str, Any]) -> list[ChildStep]:
    return [MakeWorkingDirectory(process["cwd"])]


def plan_inherited(preserved: int, *, keep_affinity: bool = False) -> list[ChildStep]:
    """keep_affinity: it was set on purpose, for this process."""
    return [ForgetInherited(preserved, keep_affinity=keep_affinity)]


def plan_working_directory(process: dict[str, Any]) -> list[ChildStep]:
    return [WorkingDirectory(process["cwd"])]


def plan_program(process: dict[str, Any], listen_fds: int) -> list[ChildStep]:
    return [FindProgram(process["args"], process.get("env", []), process.get("user", {}).get("uid", 0), listen_fds)]


def plan_execute(process: dict[str, Any]) -> list[ChildStep]:
    return [Execute(process["args"])]


class MakeWorkingDirectory(ChildStep):
    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"make the working directory {self.path} where it is missing"

    def apply(self, child: ChildContext) -> None:
        try:
            os.close(path.make_directory_in_root(child.root, self.path))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise StepError(
                    "working directory", error.errno or 0, f"mkdir {self.path}: {(error.strerror or '').lower()}"
                ) from None


class ForgetInherited(ChildStep):
    """What a careless caller left: descriptors, ignored and blocked signals, the processors it may run on, a slack for its timers."""

    __slots__ = ("keep_affinity", "preserved")

    def __init__(self, preserved: int, *, keep_affinity: bool) -> None:
        self.preserved = preserved
        self.keep_affinity = keep_affinity

    def describe(self) -> str:
        affinity = "" if self.keep_affinity else " affinity,"
        return f"reset what is inherited: descriptors from {3 + self.preserved} on, signals, umask,{affinity} timer slack"

    def apply(self, child: ChildContext) -> None:
        pidfd.close_on_exec_from(3 + self.preserved)
        os.umask(0o022)
        signals.reset()
        prctl.reset_timer_slack()
        if self.keep_affinity:
            return
        try:
            os.sched_setaffinity(0, range(os.cpu_count() or 1))
        except OSError:
            return  # a cpuset of other processors than these: the kernel has chosen already


class WorkingDirectory(ChildStep):
    """Resolved inside the root, with no link of /proc followed, and entered by descriptor: it cannot be a directory of the host that
    some descriptor still leads to (CVE-2024-21626)."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"change to {self.path}"

    def apply(self, child: ChildContext) -> None:
        try:
            fd = path.open_in_root(child.root, self.path, os.O_PATH | os.O_DIRECTORY)
            os.fchdir(fd)
            os.close(fd)
            inside = os.getcwd().startswith("/")
        except OSError as error:
            message = f"chdir to cwd ({self.path!r}) set in config.json failed: {(error.strerror or '').lower()}".replace(
                "'", '"'
            )
            raise StepError("working directory", error.errno or 0, message) from None
        if not inside:
            raise StepError("working directory", errno.ENOENT, f"chdir to cwd ({self.path}): not inside the container's root")


class FindProgram(ChildStep):
    __slots__ = ("arguments", "listen_fds", "uid", "variables")

    def __init__(self, arguments: list[str], variables: list[str], uid: int, listen_fds: int) -> None:
        self.arguments = arguments
        self.variables = variables
        self.uid = uid
        self.listen_fds = listen_fds

    def describe(self) -> str:
        return f"find the program {self.arguments[0]} on the container's PATH"

    def apply(self, child: ChildContext) -> None:
        child.environment = environment_of(self.variables)
        if not child.environment.get("HOME"):
            child.environment["HOME"] = home_of(
                path.read_small_file_in_root(child.root, "/etc/passwd", _PASSWD_LIMIT) or b"", self.uid
            )
        if self.listen_fds:
            child.environment.update(LISTEN_FDS=str(self.listen_fds), LISTEN_PID=str(child.own_pid()))
        child.program = find(self.arguments[0], child.environment.get("PATH", ""))


class Execute(ChildStep):
    __slots__ = ("arguments",)

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def describe(self) -> str:
        return f"execve {' '.join(_quoted(argument) for argument in self.arguments)}"

    def apply(self, child: ChildContext) -> None:
        try:
            os.execve(child.program if child.stub < 0 else child.stub, self.arguments, child.environment)
        except OSError as error:
            raise StepError("execute", error.errno or 0, f"exec {child.program}: {(error.strerror or '').lower()}") from None


def environment_of(variables: list[str]) -> dict[str, str]:
    """The last of several values of one name wins."""
    return dict(pair.partition("=")[::2] for pair in variables)


def home_of(passwd: bytes, uid: int) -> str:
    """The home directory of the first line with this user id; / where there is none."""
    for line in passwd.split(b"\n"):
        fields = line.split(b":")
        if len(line) <= _LINE_LIMIT and len(fields) >= 6 and fields[2] == b"%d" % uid and fields[5]:
            return os.fsdecode(fields[5])
    return "/"


def find(program: str, search: str) -> str:
    """The path to execute. Raises StepError in the words that callers look for."""
    if "/" in program:
        _check(program, program)
        return program
    for directory in search.split(":") if search else []:
        candidate = f"{directory or '.'}/{program}"
        try:
            _check(program, candidate)
        except StepError:
            continue
        if not candidate.startswith("/"):
            raise StepError(
                "program", errno.ENOENT, f'exec: "{program}": cannot run executable found relative to current directory'
            )
        return candidate
    raise StepError("program", errno.ENOENT, f'exec: "{program}": executable file not found in $PATH')


def _check(program: str, candidate: str) -> None:
    try:
        mode = os.stat(candidate).st_mode
    except OSError as error:
        _fail(program, error.errno or 0, f"stat {candidate}: {(error.strerror or '').lower()}")
    if stat.S_ISDIR(mode):
        _fail(program, errno.EISDIR, "is a directory: permission denied")
    if not mode & 0o111:
        _fail(program, errno.EACCES, "permission denied")


def _fail(program: str, number: int, text: str) -> NoReturn:
    raise StepError("program", number, f'exec: "{program}": {text}')


def _quoted(argument: str) -> str:
    plain = argument and not set(argument) & set(" \t\n'\"\\$`|&;<>()*?[]#~!{}")
    return argument if plain else "'" + argument.replace("'", "'\\''").replace("\n", "\\n") + "'"
