"""The parent's side: give the child what it needs, walk the parent's lists while the child waits, and collect what becomes of it.

A failure of the child arrives as a record and is raised here as a StepError with the same errno; whoever calls undoes the rest.
"""

from __future__ import annotations

import marshal
import os

from crate_runc import handover
from crate_runc.errors import StepError
from crate_runc.kernel import pidfd, signals
from crate_runc.steps.cgroup import JoinCgroup
from crate_runc.steps.step import ParentContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_runc.config import Bundle
    from crate_runc.host import HostFacts
    from crate_runc.plan import Options
    from crate_runc.process.start import Child
    from crate_runc.steps.step import ParentStep


class _Ended(Exception):
    pass


class Init:
    """The container's process: `pid` as we see it, `fd` a pidfd that `close` closes, `terminal` the master of its terminal or -1."""

    __slots__ = ("_forker", "channel", "fd", "on_listener", "pid", "terminal")

    def __init__(self, child: Child, on_listener: Callable[[Init, int], None] | None = None) -> None:
        self.channel = child.channel
        self.on_listener = on_listener
        self._forker = 0
        self.pid = 0
        self.fd = -1
        self.terminal = -1
        if child.is_init:
            try:
                self.adopt(child.pid)
            except OSError:
                child.discard()
                raise
        else:
            self._forker = child.pid

    def receive(self, expected: bytes) -> list[bytes]:
        """The fields of the next message, which must be `expected`; a terminal's master may come in between. Raises StepError."""
        while True:
            try:
                message, fds = self.channel.receive()
            except (EOFError, ConnectionError):
                if not expected:
                    raise _Ended from None
                raise StepError("child", 0, self._epitaph()) from None
            word, *fields = message.split(b"\0")
            if word == b"terminal" and fds:
                self.terminal = fds[0]
            elif word == b"listener" and self.on_listener and len(fields) == 1:
                self.on_listener(self, int(fields[0]))
                self.send(b"listening")
            elif word == b"error" and len(fields) == 3:
                raise StepError(fields[0].decode("utf-8", "replace"), int(fields[1]), fields[2].decode("utf-8", "replace"))
            elif word == expected:
                return fields
            else:
                raise StepError("child", 0, f"talk to the child: {word[:40]!r} is not {expected.decode()}")

    def send(self, message: bytes, fds: list[int] | tuple[int, ...] = ()) -> None:
        """A child that has failed does not listen any more: then its last word, which says why, is raised."""
        try:
            self.channel.send(message, fds)
        except ConnectionError:
            self.receive_end()
            raise StepError("child", 0, self._epitaph()) from None

    def receive_end(self) -> None:
        """The end of the channel, by which a successful execve shows; raises StepError for a failure."""
        try:
            while True:
                self.receive(b"")
        except _Ended:
            return

    def adopt(self, pid: int) -> None:
        self.pid = pid
        self.fd = pidfd.open_process(pid)

    def collect_forker(self) -> None:
        """The process that forked init has ended or is about to."""
        if self._forker:
            os.waitpid(self._forker, 0)
            self._forker = 0

    def kill(self) -> None:
        """End and collect both processes, whatever state they are in."""
        self.channel.close()
        for pid in (self.pid, self._forker):
            if pid:
                try:
                    os.kill(pid, signals.SIGKILL)
                    os.waitpid(pid, 0)
                except (ProcessLookupError, ChildProcessError):
                    pass
        self._forker = 0

    def close(self) -> None:
        self.channel.close()
        for fd in (self.fd, self.terminal):
            if fd >= 0:
                os.close(fd)
        self.fd = self.terminal = -1

    def _epitaph(self) -> str:
        """Why the channel ended without a word: some signal, most likely."""
        pid = self.pid or self._forker
        try:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        except ChildProcessError:
            return "the container's first process is gone"
        if pid == self._forker:
            self._forker = 0
        else:
            self.pid = 0
        return f"the container's first process ended with {f'signal {-code}' if code < 0 else f'status {code}'}"


def inputs(
    bundle: Bundle,
    facts: HostFacts,
    options: Options,
    hook_state: dict[str, Any],
    *,
    entered: bool,
    attaches: bool,
    seccomp: bytes,
) -> bytes:
    """The child makes the same plan of them. `attaches`: it waits while the parent walks `attach`; `seccomp`: the compiled filter."""
    return marshal.dumps(
        {
            "bundle": bundle.path,
            "config": bundle.config,
            "rootfs": bundle.rootfs,
            "facts": {name: getattr(facts, name) for name in facts.__slots__},
            "options": {name: getattr(options, name) for name in options.__slots__},
            "hook_state": hook_state,
            "entered": entered,
            "attaches": attaches,
            "seccomp": seccomp,
        }
    )


def walk(
    child: Child,
    prepare: list[ParentStep],
    attach: list[ParentStep],
    context: ParentContext,
    message: bytes | None,
    fds: list[int],
    *,
    meanwhile: Callable[[Init], None],
    on_listener: Callable[[Init, int], None] | None = None,
) -> Init:
    """From a child that has just been started to a container that is created. Raises, and then nothing of the child is left. message: what a fresh
    interpreter has to be told; a forked child knows it, and has the fds, which travel to the other. They are closed here. meanwhile: what else
    there is to do, once init has its pid and is busy. on_listener: what becomes of a seccomp listener, by its number in the child."""
    init = Init(child, on_listener)
    try:
        try:
            if message is not None:
                init.send(message, fds)
        finally:
            for fd in fds:
                os.close(fd)
        _prepare(child, prepare, context, init)
        meanwhile(init)
        if attach:
            init.receive(b"mounted")
            _apply(attach, context)
            init.send(b"attached")
        init.receive(b"created")
        init.collect_forker()
    except BaseException:
        init.kill()
        init.close()
        raise
    return init


def _prepare(child: Child, prepare: list[ParentStep], context: ParentContext, init: Init) -> None:
    """Joining the cgroup takes milliseconds without work. A fresh interpreter is moved while it still starts, and init is born in the
    cgroup; a forked child would be kept waiting: it came through the cgroup's entrance, or init is moved while it already sets up."""
    joins: list[ParentStep] = [step for step in prepare if isinstance(step, JoinCgroup)]
    others = [step for step in prepare if not isinstance(step, JoinCgroup)]
    context.pid = child.pid
    context.in_cgroup, context.in_unified = child.in_cgroup, child.in_unified
    if child.sealed_start:
        _apply(joins, context)
    if not child.is_init:
        init.receive(b"waiting")
    _apply(others, context)
    init.send(b"prepared")
    if not child.is_init:
        init.adopt(int(init.receive(b"init")[0]))
        init.send(b"adopted")
        context.pid = init.pid
    if not child.sealed_start:
        _apply(joins, context)
    init.send(b"joined")


def _apply(steps: list[ParentStep], context: ParentContext) -> None:
    for step in steps:
        try:
            step.apply(context)
        except OSError as error:
            where = f" {error.filename}" if error.filename else ""
            raise StepError(
                step.describe(), error.errno or 0, f"{step.describe()}:{where} {(error.strerror or '').lower()}"
            ) from None


def open_needs(needs: list[tuple[str, str]], ready: dict[tuple[str, str], int]) -> list[int]:
    """Descriptors in the order of `needs`; `ready` are those that are open already. Raises StepError."""
    fds = []
    for need in needs:
        kind, path = need
        if need in ready:
            fds.append(ready[need])
        elif kind == "console":
            fds.append(handover.connect_console(path))
        else:
            try:
                fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            except OSError as error:
                raise StepError(kind, error.errno or 0, f"open {kind} {path}: {(error.strerror or '').lower()}") from None
    return fds
