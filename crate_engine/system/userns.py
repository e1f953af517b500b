"""User namespaces (user_namespaces(7), newuidmap(1), subuid(5)) in three modes: root, a range of ids, or the one own id.

*root*: the caller is root and needs no namespace. *range*: container id 0 is the user, 1 and up are the user's subordinate ids.
*single*: only 0 is mapped, to the user; supplementary groups cannot be set. What is not here: choosing maps by flags.
"""

from __future__ import annotations

import errno
import marshal
import os
import pwd

from crate_engine import errors
from crate_engine.system.process import CLONE_NEWUSER, setns, unshare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_RANGES = 339  # the kernel takes 340 lines a map, the first is the user's own id (Linux 4.15)


class UserNamespace:
    """`uid_map` and `gid_map` are tuples of (container id, host id, count); `reason` says why `mode` is not *range* for an ordinary user."""

    __slots__ = ("gid_map", "mode", "reason", "uid_map")

    def __init__(
        self,
        mode: str,
        uid_map: tuple[tuple[int, int, int], ...] = (),
        gid_map: tuple[tuple[int, int, int], ...] = (),
        reason: str = "",
    ) -> None:
        self.mode = mode
        self.uid_map = uid_map
        self.gid_map = gid_map
        self.reason = reason

    def to_record(self) -> dict[str, object]:
        """Plain values for JSON or marshal; `from_record` is the inverse."""
        return {"mode": self.mode, "uid_map": self.uid_map, "gid_map": self.gid_map, "reason": self.reason}

    @classmethod
    def from_record(cls, record: dict[str, object]) -> UserNamespace:
        maps = [tuple((int(a), int(b), int(c)) for a, b, c in record[key]) for key in ("uid_map", "gid_map")]  # type: ignore[attr-defined]
        return cls(str(record["mode"]), maps[0], maps[1], str(record["reason"]))


def choose() -> UserNamespace:
    """The best mode this host and user allow. Opens /etc/subuid and /etc/subgid; starts nothing."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        return UserNamespace("root")
    reason = ""
    ranges = [_ranges(path, uid) for path in ("/etc/subuid", "/etc/subgid")]
    if not (_program("newuidmap") and _program("newgidmap")):
        reason = "newuidmap and newgidmap are not installed (package uidmap)"
    elif not all(ranges):
        name = _user_name(uid)
        reason = f"/etc/subuid and /etc/subgid have no range for {name}; as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
    if reason:
        return UserNamespace("single", ((0, uid, 1),), ((0, gid, 1),), reason)
    return UserNamespace("range", _stack(uid, ranges[0]), _stack(gid, ranges[1]))


def enter(user_namespace: UserNamespace, flags: int = 0) -> None:
    """Move this single-threaded process into a new user namespace, and into new namespaces of `flags` owned by it; it becomes id 0 there.

    In mode *root* only `flags` are unshared. A child forked beforehand maps the range, as that takes newuidmap outside the namespace.
    Raises HostError with what the host forbids and how to allow it.
    """
    if user_namespace.mode == "root":
        if flags:
            unshare(flags)
        return
    mapper = _Mapper(user_namespace) if user_namespace.mode == "range" else None
    try:
        unshare(CLONE_NEWUSER | flags)
    except OSError as error:
        if mapper:
            mapper.give_up()
        # ENOSPC of unshare(2) is about namespaces, not about a disk.
        cause = "their limit is reached" if error.errno in (errno.ENOSPC, errno.EUSERS) else error.strerror
        raise errors.HostError(f"make a user namespace: {cause}", hint=_advice(error.errno)) from error
    if mapper:
        mapper.map()
        os.setgroups([])
    else:
        _map_own_id(user_namespace)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def join(pid: int) -> None:
    """Move this single-threaded process into the user namespace of `pid`, as id 0 there; nothing happens when it is in it already.

    Raises ProcessLookupError when the process is gone.
    """
    pidfd = os.pidfd_open(pid)
    try:
        setns(pidfd, CLONE_NEWUSER)
    except OSError as error:
        # EINVAL: the caller's own user namespace cannot be entered again (setns(2)).
        if error.errno == errno.EINVAL:
            return
        if error.errno == errno.ESRCH:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH)) from error
        raise
    finally:
        os.close(pidfd)
    if setgroups_allowed():
        os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def fork(user_namespace: UserNamespace, function: Callable[[], int]) -> int:
    """Fork a child that enters the namespace, calls `function` and exits with its result; returns the child's pid, which the caller reaps.

    The calling process must have no other thread. What `function` raises becomes exit status 70 after the text went to standard error.
    """
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        enter(user_namespace)
        status = function()
    except BaseException as error:
        os.write(2, f"crate: {type(error).__name__}: {error}\n".encode(errors="replace"))
    finally:
        os._exit(status)


def run(user_namespace: UserNamespace, function: Callable[..., object], *arguments: object) -> object:
    """Call `function` in a child inside the namespace and return its result, a value that marshal can carry. Its CrateError or OSError is raised here.

    In mode *root* the function is called in this process.
    """
    if user_namespace.mode == "root":
        return function(*arguments)
    return _call_in_child(lambda: enter(user_namespace), function, arguments)


def run_joined(pid: int, function: Callable[..., object], *arguments: object) -> object:
    """Like `run`, inside the user namespace that `pid` is in."""
    return _call_in_child(lambda: join(pid), function, arguments)


def _call_in_child(prepare: Callable[[], None], function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            prepare()
            report: tuple[object, ...] = ("result", function(*arguments))
        except errors.CrateError as error:
            report = ("crate", type(error).__name__, str(error), error.hint)
        except OSError as error:
            report = ("os", error.errno, error.strerror, error.filename)
        except BaseException as error:
            report = ("crate", "CrateError", f"{type(error).__name__}: {error}", None)
        with open(send, "wb") as file:
            file.write(marshal.dumps(report))  # type: ignore[arg-type]
        os._exit(0)
    os.close(send)
    with open(receive, "rb") as file:
        answer = file.read()
    os.waitpid(child, 0)
    if not answer:
        raise errors.CrateError("work inside the user namespace: the process was killed")
    return _unwrap(marshal.loads(answer))


def _unwrap(report: tuple[object, ...]) -> object:
    kind, *rest = report
    if kind == "result":
        return rest[0]
    if kind == "os":
        raise OSError(*rest)
    name, message, hint = rest
    raise getattr(errors, str(name))(message, hint=hint)


class _Mapper:
    """A child, forked before the namespace exists, that runs newuidmap and newgidmap from outside when told to."""

    def __init__(self, user_namespace: UserNamespace) -> None:
        told, self._tell = os.pipe()
        self._heard, hear = os.pipe()
        target = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._tell)
            os.close(self._heard)
            if os.read(told, 1):
                os.write(hear, _run_newidmap(user_namespace, target).encode(errors="replace"))
            os._exit(0)
        os.close(told)
        os.close(hear)

    def give_up(self) -> None:
        os.close(self._tell)
        os.close(self._heard)
        os.waitpid(self._pid, 0)

    def map(self) -> None:
        os.write(self._tell, b"x")
        with open(self._heard, "rb") as file:
            text = file.read().decode(errors="replace")
        os.close(self._tell)
        os.waitpid(self._pid, 0)
        if text:
            raise errors.HostError(
                f"map the user namespace's ids: {text}",
                hint="newuidmap and newgidmap must be setuid root or have file capabilities, and the ranges must be the user's own",
            )


def _run_newidmap(user_namespace: UserNamespace, target: int) -> str:
    """Both programs at once; the text is empty when both succeeded, otherwise what they said."""
    receive, send = os.pipe()
    started = []
    for name, maps in (("newuidmap", user_namespace.uid_map), ("newgidmap", user_namespace.gid_map)):
        program = _program(name)
        if program is None:
            return f"{name} is not installed"
        arguments = [name, str(target), *[str(number) for line in maps for number in line]]
        started.append(os.posix_spawn(program, arguments, {}, file_actions=[(os.POSIX_SPAWN_DUP2, send, 2)]))
    os.close(send)
    with open(receive, "rb") as file:
        said = file.read()
    statuses = [os.waitpid(pid, 0)[1] for pid in started]
    return "" if not any(statuses) else said.decode(errors="replace").strip() or f"exit statuses {statuses}"


def _map_own_id(user_namespace: UserNamespace) -> None:
    try:
        _write("/proc/self/setgroups", "deny")  # user_namespaces(7): without it an unprivileged gid_map is refused
        for path, maps in (("/proc/self/uid_map", user_namespace.uid_map), ("/proc/self/gid_map", user_namespace.gid_map)):
            _write(path, "".join(f"{inside} {outside} {count}\n" for inside, outside, count in maps))
    except OSError as error:
        raise errors.HostError(f"map the own id into a user namespace: {error.strerror}", hint=_advice(error.errno)) from error


def _advice(code: int | None) -> str:
    """The setting that forbids user namespaces here, with the command that changes it."""
    for path, forbids, command in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ):
        try:
            with open(path, encoding="ascii") as file:
                if file.read().strip() == forbids:
                    return f"{path} is {forbids}; as root: {command}"
        except OSError:
            continue
    if code in (errno.ENOSPC, errno.EUSERS):
        return "the limit of user namespaces is reached; as root: sysctl -w user.max_user_namespaces=15000"
    return "user namespaces are denied here, perhaps by the seccomp profile or security module of an outer container"


def _ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """The (start, count) pairs of subuid(5) that belong to the user, by name or by number."""
    owners = (_user_name(uid), str(uid))
    ranges = []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                owner, _, numbers = line.strip().partition(":")
                start, _, count = numbers.partition(":")
                if owner in owners and start.isascii() and start.isdigit() and count.isascii() and count.isdigit() and int(count):
                    ranges.append((int(start), int(count)))
    except OSError:
        return []
    return ranges[:_MAX_RANGES]


def _stack(own: int, ranges: list[tuple[int, int]]) -> tuple[tuple[int, int, int], ...]:
    maps = [(0, own, 1)]
    inside = 1
    for start, count in ranges:
        maps.append((inside, start, count))
        inside += count
    return tuple(maps)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _program(name: str) -> str | None:
    for directory in [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/bin", "/usr/local/bin"]:
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    return None


def inside() -> bool:
    """This process is in a user namespace that is not the first one, whose map is of all ids (user_namespaces(7))."""
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def setgroups_allowed() -> bool:
    with open("/proc/self/setgroups", encoding="ascii") as file:
        return file.read().strip() == "allow"


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
