"""process.cwd, env and args: the last steps, up to execve(2).

The program is looked for before the container counts as created, so that a missing one is an error of `create`; texts and exit status of the
callers depend on the words. What a shell would do with args is not done here.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import prctl, signals
from crate_runc.kernel.calls import ANY, At, Buffer, Call, Label, Value, check, constant, fail
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import ChildContext, LaunchContext

_LINE_LIMIT = 4 << 10
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_RESOLVE_NO_MAGICLINKS = 2
_CLOSE_RANGE_CLOEXEC = 4
_TIMER_SLACK = 50_000  # ns, what Linux starts with; 0 would ask for the one that was inherited
_STATX_TYPE_AND_MODE, _MODE_OFFSET, _MAJOR_OFFSET, _MINOR_OFFSET, _STATX_SIZE = 3, 28, 128, 132, 256
_NULL = (1, 3)
# Of a candidate on the PATH: it is not there, or not for this user. What the kernel does not know, or a filter refuses, is an error of its own.
_NOT_THERE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO),
)
_SIGACTION = 32  # bytes of the kernel's struct sigaction; all zero is the default action


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
        from crate_runc.kernel import path

        try:
            os.close(path.make_directory_in_root(child.root, self.path))
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise StepError(
                    "working directory", error.errno or 0, f"mkdir {self.path}: {(error.strerror or '').lower()}"
                ) from None


class ForgetInherited(LaunchStep):
    """What a careless caller left: descriptors, ignored and blocked signals, the processors it may run on, a slack for its timers."""

    __slots__ = ("keep_affinity", "preserved")

    def __init__(self, preserved: int, *, keep_affinity: bool) -> None:
        self.preserved = preserved
        self.keep_affinity = keep_affinity

    def describe(self) -> str:
        affinity = "" if self.keep_affinity else " affinity,"
        return f"reset what is inherited: descriptors from {3 + self.preserved} on, signals, umask,{affinity} timer slack"

    def calls(self, launch: LaunchContext) -> list[Item]:
        items: list[Item] = [
            Call("close_range", 3 + self.preserved, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC),
            *(_own_null_device() if launch.terminal is None else []),
            Call("umask", 0o022),
            *(Call("rt_sigaction", number, bytes(_SIGACTION), 0, 8) for number in (*signals.changed(), *signals.OF_LIBC)),
            Call("rt_sigprocmask", signals.SIG_SETMASK, bytes(8), 0, 8),
            Call("prctl", prctl.SET_TIMERSLACK, _TIMER_SLACK),
        ]
        if not self.keep_affinity:
            processors = os.cpu_count() or 1
            size = (processors + 63) // 64 * 8
            # forgiven: a cpuset of other processors than these, from which the kernel has chosen already
            items.append(Call("sched_setaffinity", 0, size, ((1 << processors) - 1).to_bytes(size, "little"), forgive=ANY))
        return items


def _own_null_device() -> list[Item]:
    """What is the host's /dev/null of descriptors 0 to 2 becomes the container's, where that is one: an open file keeps its mount, and with
    CAP_DAC_READ_SEARCH one of the host's leads to all of it (open_by_handle_at(2))."""
    fds = [fd for fd in (0, 1, 2) if _is_null_device(fd)]
    if not fds:
        return []
    opened, status, kept = Buffer(), Buffer(_STATX_SIZE), Label()
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    return [
        Call("openat", _AT_FDCWD, b"/dev/null\0", flags, 0, store=opened, forgive=ANY, otherwise=kept),
        Call("statx", Value(opened), b"\0", _AT_EMPTY_PATH, _STATX_TYPE_AND_MODE, status, forgive=ANY, otherwise=kept),
        check(At(status, _MAJOR_OFFSET), 0xFFFFFFFF, _NULL[0], otherwise=kept),
        check(At(status, _MINOR_OFFSET), 0xFFFFFFFF, _NULL[1], otherwise=kept),
        *(Call("dup3", Value(opened), fd, 0) for fd in fds),
        kept,
    ]


def _is_null_device(fd: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) == _NULL


class WorkingDirectory(LaunchStep):
    """With no link of /proc followed, and entered by descriptor: it cannot be a directory of the host that some descriptor still leads
    to (CVE-2024-21626). The process is in the container's root by now."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def describe(self) -> str:
        return f"change to {self.path}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        message = f'chdir to cwd ("{self.path}") set in config.json failed'
        path, flags = os.fsencode(self.path) + b"\0", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        how = b"".join(word.to_bytes(8, "little") for word in (flags, 0, _RESOLVE_NO_MAGICLINKS))
        fd, name, old, opened = Buffer(), Buffer(4096), Label(), Label()
        return [
            Call(
                "openat2",
                *(_AT_FDCWD, path, how, len(how)),
                store=fd,
                then=opened,
                forgive=(errno.ENOSYS, errno.EPERM),
                otherwise=old,
                message=message,
            ),
            old,
            Call("openat", _AT_FDCWD, path, flags, 0, store=fd, message=message),
            opened,
            Call("fchdir", Value(fd), message=message),
            Call("close", Value(fd)),
            Call("getcwd", name, 4096, message=message),
            check(
                name,
                0xFF,
                ord("/"),
                error=errno.ENOENT,
                message=f"chdir to cwd ({self.path})",
                reason="not inside the container's root",
            ),
        ]


class FindProgram(LaunchStep):
    """By the rights of the container's user."""

    __slots__ = ("arguments", "listen_fds", "uid", "variables")

    def __init__(self, arguments: list[str], variables: list[str], uid: int, listen_fds: int) -> None:
        self.arguments = arguments
        self.variables = variables
        self.uid = uid
        self.listen_fds = listen_fds

    def describe(self) -> str:
        return f"find the program {self.arguments[0]} on the container's PATH"

    def calls(self, launch: LaunchContext) -> list[Item]:
        launch.environment = environment_of(self.variables)
        if not launch.environment.get("HOME"):
            launch.environment["HOME"] = home_of(launch.passwd(), self.uid)
        if self.listen_fds:
            launch.environment.update(LISTEN_FDS=str(self.listen_fds), LISTEN_PID=str(launch.own_pid()))
        return find(self.arguments[0], launch.environment.get("PATH", ""), launch)

    def apply(self, child: ChildContext) -> None:
        from crate_runc.kernel.perform import place_of

        super().apply(child)
        found = int.from_bytes(child.program.content, "little")
        (path,) = [candidate.content for candidate in child.candidates if place_of(candidate) == found]
        child.path = os.fsdecode(bytes(path[:-1]))


class Execute(LaunchStep):
    __slots__ = ("arguments",)

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def describe(self) -> str:
        return f"execve {' '.join(_quoted(argument) for argument in self.arguments)}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        variables = [os.fsencode(f"{name}={value}") + b"\0" for name, value in launch.environment.items()]
        arguments = [os.fsencode(argument) + b"\0" for argument in self.arguments]
        path = os.fsencode(launch.path) + b"\0" if launch.path else Value(launch.program)
        return [Call("execve", path, [*arguments, 0], [*variables, 0], message=f"exec {launch.path or self.arguments[0]}")]

    def apply(self, child: ChildContext) -> None:
        super().apply(child)
        if child.deferred is not None:
            self._become_stub(child, child.deferred)

    def _become_stub(self, child: ChildContext, items: list[Item]) -> None:
        """With the program's arguments and environment, so that too many of them are an error of create. What stays open in the stub is closed when
        it executes the program."""
        from crate_runc.process import program, stub

        kept = [*child.kept, child.procfs] if child.procfs >= 0 else child.kept
        closing: list[Item] = [Call("fcntl", fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC) for fd in kept]
        fd, _ = stub.make([*closing, *items], program.complaint(), told=True)
        try:
            for number in kept:
                os.set_inheritable(number, True)
            os.execve(fd, self.arguments, child.environment)
        except OSError as error:
            raise StepError("execute", error.errno or 0, f"exec {child.path}: {(error.strerror or '').lower()}") from None


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


def find(program: str, search: str, launch: LaunchContext) -> list[Item]:
    """Calls that leave the address of the path to execute in launch.program; what they can be is in launch.candidates. Their errors are in
    the words that callers look for."""
    message, found = f'exec: "{program}"', Label()
    if "/" in program:
        return [*_candidate(program, message, launch, None, None), found]
    items: list[Item] = []
    for directory in search.split(":") if search else []:
        path, following = f"{directory or '.'}/{program}", Label()
        if path.startswith("/"):
            items += [*_candidate(path, message, launch, found, following), following]
        else:
            relative = fail(errno.ENOENT, message, "cannot run executable found relative to current directory")
            items += [*_candidate(path, message, launch, None, following), relative, following]
    return [*items, fail(errno.ENOENT, message, "executable file not found in $PATH"), found]


def _candidate(path: str, message: str, launch: LaunchContext, found: Label | None, following: Label | None) -> list[Item]:
    """Without `following` a path that cannot be executed is an error."""
    status, name = Buffer(_STATX_SIZE), Buffer(os.fsencode(path) + b"\0")
    mode = At(status, _MODE_OFFSET)
    launch.candidates.append(name)
    return [
        Call(
            "statx",
            *(_AT_FDCWD, name, 0, _STATX_TYPE_AND_MODE, status),
            forgive=_NOT_THERE if following else (),
            otherwise=following,
            message=f"{message}: stat {path}",
        ),
        check(
            mode,
            stat.S_IFMT(0xFFFF),
            stat.S_IFDIR,
            equal=False,
            error=errno.EISDIR,
            otherwise=following,
            message=message,
            reason="is a directory: permission denied",
        ),
        check(mode, 0o111, 0, equal=False, error=errno.EACCES, otherwise=following, message=message),
        constant(name, launch.program, then=found),
    ]


def _quoted(argument: str) -> str:
    plain = argument and not set(argument) & set(" \t\n'\"\\$`|&;<>()*?[]#~!{}")
    return argument if plain else "'" + argument.replace("'", "'\\''").replace("\n", "\\n") + "'"
