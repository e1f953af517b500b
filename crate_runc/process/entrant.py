"""The process that exec adds to a container: it enters as the stub (stub.py) and never was anything else there.

The stub starts in the host's namespaces, not dumpable. There it goes through the entrance of the container's cgroups (cgroup/entrance.py), or waits
until the parent has moved it. With no descriptor left that leads anywhere on the host but the caller's own 0 to 2, and those that he asked to
preserve, it enters the namespaces by one setns(2), and clones the process that is also in the pid namespace, a child of the parent's, which walks
`enter` and `launch` as calls (CVE-2016-9962, CVE-2019-5736).

It speaks in records of two 64-bit words: which call failed and why, or one of the words below and a number. The parent takes nothing else from it: in
the container a process with CAP_SYS_PTRACE may reach it.
"""

from __future__ import annotations

import _socket
import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel import namespaces, pidfd, prctl, signals
from crate_runc.kernel.calls import ANY, UNEXPECTED, At, Buffer, Call, Label, Value, check, constant
from crate_runc.process import program, stub
from crate_runc.steps.step import PASSWD_LIMIT, LaunchContext, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_runc.cgroup.entrance import Entrance
    from crate_runc.kernel.calls import Argument, CallError, Item
    from crate_runc.plan import Plan
    from crate_runc.steps.step import ChildStep

_RECORD = 16
_PID, _TERMINAL, _LISTENER, _MOVED, _OUTSIDE = 1, 2, 3, 4, 5


class Target:
    """The container to enter: pidfd of its first process, closed by whoever made this; root: its root directory, or -1 where the caller may not open
    that; flags: the namespaces in which it is and the caller is not."""

    __slots__ = ("flags", "pidfd", "root")

    def __init__(self, pid: int) -> None:
        """Raises ProcessLookupError. Whose pid it is must be checked after this."""
        self.pidfd = pidfd.open_process(pid)
        try:
            self.flags = namespaces.differing(pid)
        except FileNotFoundError:
            os.close(self.pidfd)
            raise ProcessLookupError from None
        try:
            self.root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self.root = -1

    def close(self) -> None:
        for fd in (self.pidfd, self.root):
            if fd >= 0:
                os.close(fd)


class EntryContext(LaunchContext):
    """What the launch steps of an exec are told. last_capability: the number of the kernel's last one."""

    __slots__ = ("last_capability", "socket", "target")

    def __init__(self, target: Target, last_capability: int) -> None:
        super().__init__()
        self.target = target
        self.last_capability = last_capability
        self.socket = -1

    def held_capabilities(self) -> int:
        """In a user namespace that is entered, all of them; else what root has, who the stub is."""
        if self.target.flags & namespaces.NEWUSER:
            return (2 << self.last_capability) - 1
        from crate_runc.kernel import capability

        return capability.get()[1]

    def passwd(self) -> bytes:
        if self.target.root < 0:
            return b""
        from crate_runc.kernel import path

        return path.read_small_file_in_root(self.target.root, "/etc/passwd", PASSWD_LIMIT) or b""

    def send_terminal(self, master: Buffer) -> list[Item]:
        """struct msghdr with one struct cmsghdr of SCM_RIGHTS."""
        control = Buffer((20).to_bytes(8, "little") + (1).to_bytes(4, "little") * 2 + bytes(8))
        message: list[Argument] = [0, 0, [_record(_TERMINAL), _RECORD], 1, control, 24, 0]
        return [
            Call("offset", Value(master), 0, store=At(control, 16)),
            Call("sendmsg", self.socket, message, _socket.MSG_NOSIGNAL),
        ]

    def send_listener(self, listener: Buffer) -> list[Item]:
        """By write(2) alone, the one call that a filter may not give to the listener, who has nothing yet."""
        record = _record(_LISTENER)
        return [
            Call("offset", Value(listener), 0, store=At(record, 8)),
            Call("write", self.socket, record, _RECORD),
            *_await(self.socket),
        ]


class Entrant:
    """`pid` of the process as the parent sees it, `fd` a pidfd of it, `terminal` the master of its terminal or -1. The parent's own child."""

    __slots__ = ("_program", "_socket", "_stubs", "fd", "on_listener", "on_outside", "pid", "terminal")

    def __init__(
        self, context: EntryContext, steps: Plan, entrance: Entrance | None, *, preserved: int, on_host_first: bool
    ) -> None:
        """Starts the stub, which waits where there is something to prepare. on_host_first: until it enters, /proc/PID of the stub stays the
        caller's own, who may not write to it else; root may, and then it is closed to all others from the first moment on."""
        ours, theirs = _socket.socketpair()
        self._socket = ours
        context.socket = theirs.fileno()
        items = _items(context, steps, entrance, on_host_first)
        failed = Call("write", context.socket, program.FAILED, _RECORD)
        image, self._program = stub.make(items, [failed, Call("exit_group", 1)])
        self.pid, self.fd, self.terminal = 0, -1, -1
        self.on_listener: Callable[[Entrant, int], None] | None = None
        self.on_outside: Callable[[int], None] | None = None
        """Puts a process, by its pid, in the unified cgroup in which it could not be born."""
        pidfd.close_on_exec_from(3 + preserved)
        for fd in (context.socket, context.target.pidfd, *(entrance.fds() if entrance else ())):
            os.set_inheritable(fd, True)
        self._stubs = [_start(image)]
        theirs.close()
        os.close(image)

    @property
    def stub(self) -> int:
        """The pid of the process that enters, until `enter` is called."""
        return self._stubs[0]

    def go_on(self) -> None:
        """It waits for one of these for each thing that the parent does meanwhile. One that has ended says why, or that shows in `enter`."""
        try:
            self._socket.send(b"g", _socket.MSG_NOSIGNAL)
        except ConnectionError:
            pass

    def enter(self, attach: Callable[[int], None] | None) -> None:
        """Return when the program runs. attach: what is done to the final process while it waits. Raises StepError."""
        while True:
            message, fds = self._receive()
            if not message:
                break
            word, number = (int.from_bytes(message[at : at + 8], "little") for at in (0, 8))
            if word == _PID and not self.pid and _is_our_child(number):
                self.pid, self.fd = number, pidfd.open_process(number)
                if attach:
                    attach(number)
                    self.go_on()
            elif word == _MOVED and len(self._stubs) == 1 and _is_our_child(number):
                self._stubs.append(number)
            elif word == _OUTSIDE and self.on_outside:
                self.on_outside(self.stub)
                self.go_on()
            elif word == _TERMINAL and fds and self.terminal < 0:
                self.terminal = fds[0]
            elif word == _LISTENER and self.on_listener:
                self.on_listener(self, number)
                self.go_on()
            else:
                raise self._failure(word, number)
        code = self._collect_stubs()
        if not self.pid:
            why = f"signal {-code}" if code < 0 else f"status {code}"
            raise StepError("enter", 0, f"enter the container: the process ended with {why}")

    def kill(self) -> None:
        """End and collect what there is of it."""
        for pid in (self.pid, *self._stubs):
            if pid:
                try:
                    os.kill(pid, signals.SIGKILL)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    pass
        self._stubs = []

    def close(self) -> None:
        self._socket.close()
        for fd in (self.fd, self.terminal):
            if fd >= 0:
                os.close(fd)
        self.fd = self.terminal = -1

    def _collect_stubs(self) -> int:
        """They are our children, and their numbers nobody else's until now. Returns the exit status of the last one."""
        code = 0
        for pid in self._stubs:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._stubs = []
        return code

    def _receive(self) -> tuple[bytes, list[int]]:
        """A whole record, or nothing at the end."""
        message, fds = b"", []
        while len(message) < _RECORD:
            try:
                part, ancillary, _, _ = self._socket.recvmsg(
                    _RECORD - len(message), _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
                )
            except ConnectionResetError:
                part, ancillary = b"", []
            fds += [int.from_bytes(block[:4], "little") for _, _, block in ancillary if len(block) >= 4]
            if not part:
                return b"", fds
            message += part
        return message, fds

    def _failure(self, address: int, number: int) -> StepError:
        try:
            error = self._program.error_of(address, number)
        except ValueError:
            return StepError("enter", 0, "enter the container: the process there says what it cannot know")
        origin = error.call.origin
        return origin.failure(error) if isinstance(origin, LaunchStep) else _own_failure(error)


def _is_our_child(pid: int) -> bool:
    """Nothing is done to a process because somebody in the container says so."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except (OSError, OverflowError):
        return False
    return True


def _start(image: int) -> int:
    """The pid of a process that executes this."""
    path, arguments = f"/proc/self/fd/{image}", ["crate-runc", "exec"]
    try:
        return os.posix_spawn(path, arguments, {})
    except PermissionError:  # a filter of system calls answers so to the C library's clone3, which knows ENOSYS only
        pid = os.fork()
    if pid:
        return pid
    try:
        os.execve(path, arguments, {})
    finally:
        os._exit(1)


def _own_failure(error: CallError) -> StepError:
    number = 0 if error.errno == UNEXPECTED else error.errno
    words = os.strerror(number).lower() if number else "the parent is gone"
    if number == 38:  # ENOSYS
        words += f": {error.call.name}(2)"
    return StepError("enter", number, f"{error.call.message or 'enter the container'}: {words}")


def _items(context: EntryContext, steps: Plan, entrance: Entrance | None, on_host_first: bool) -> list[Item]:
    pid, parent, target = _record(_PID), Label(), context.target
    hide: list[Item] = [Call("prctl", prctl.SET_DUMPABLE, 0)]
    clone_flags = namespaces.CLONE_PARENT | signals.SIGCHLD
    return [
        *([] if on_host_first else hide),
        *(_await(context.socket) if steps.prepare else []),
        *_calls(steps.begin, context),
        *(_walk_through(entrance, context.socket) if entrance else []),
        *(hide if on_host_first else []),
        Call("setns", target.pidfd, target.flags, message="enter the container's namespaces"),
        Call("close", target.pidfd),
        *(_become_root() if target.flags & namespaces.NEWUSER else []),
        Call("clone", clone_flags, 0, 0, 0, 0, store=At(pid, 8), message="clone a process in the container"),
        check(At(pid, 8), 0xFFFFFFFF, 0, otherwise=parent),
        *(_await(context.socket) if steps.attach else []),
        *_calls([*steps.enter, *steps.launch], context),
        parent,
        Call("write", context.socket, pid, _RECORD),
        Call("exit_group", 0),
    ]


def _walk_through(entrance: Entrance, socket: int) -> list[Item]:
    """A process can only be born in a unified cgroup: the rest is for one that is cloned there, or for this one, where the kernel refuses and the
    parent moves it."""
    items: list[Item] = []
    for fd, directory in entrance.tasks:
        items += [Call("write", fd, b"0", 1, message=f"join cgroup {directory}"), Call("close", fd)]
    if entrance.unified < 0:
        return items
    pid, first, outside, born = _record(_MOVED), Label(), Label(), Label()
    arguments = namespaces.clone_arguments(namespaces.CLONE_PARENT, cgroup=entrance.unified, signal=0)
    return [
        *items,
        Call("clone3", arguments, len(arguments), store=At(pid, 8), forgive=ANY, otherwise=outside),
        check(At(pid, 8), 0xFFFFFFFF, 0, otherwise=first),
        constant(0, Buffer(), then=born),
        first,
        Call("write", socket, pid, _RECORD),
        Call("exit_group", 0),
        outside,
        Call("write", socket, _record(_OUTSIDE), _RECORD),
        *_await(socket),
        born,
        Call("close", entrance.unified),
    ]


def _calls(steps: list[ChildStep], context: EntryContext) -> list[Item]:
    items: list[Item] = []
    for step in steps:
        assert isinstance(step, LaunchStep), step.describe()
        for item in step.calls(context):
            if isinstance(item, Call):
                item.origin = step
            items.append(item)
    return items


def _await(socket: int) -> list[Item]:
    """One byte of the parent's."""
    heard = Buffer()
    return [Call("read", socket, Buffer(), 1, store=heard), check(heard, 0xFFFFFFFF, 1)]


def _become_root() -> list[Item]:
    """In a user namespace be its user 0 where it has one (EINVAL), in no group of the host's; setgroups is denied in one that maps only its owner."""
    forgiven = (errno.EPERM, errno.EINVAL)
    return [
        Call("setgroups", 0, 0, forgive=forgiven),
        Call("setresgid", 0, 0, 0, forgive=forgiven),
        Call("setresuid", 0, 0, 0, forgive=forgiven),
        Call("prctl", prctl.SET_DUMPABLE, 0),
    ]


def _record(word: int) -> Buffer:
    return Buffer(word.to_bytes(8, "little") + bytes(8))
