"""exec: one more process in a running container, by the same launch steps as its first (runtime-spec does not know it; runc's command line does)."""

from __future__ import annotations

import os

from crate_runc import cgroup, host, plan
from crate_runc.config import Bundle
from crate_runc.errors import StateError
from crate_runc.handover import check_preserved, compiled_seccomp, connect_pidfd_socket, listener_of, send_pidfd, write_pid_file
from crate_runc.kernel import namespaces, pidfd
from crate_runc.process import foreground, parent, start
from crate_runc.state import store as state_store
from crate_runc.steps.step import ParentContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.plan import Options
    from crate_runc.process.parent import Init
    from crate_runc.state.record import ContainerState
    from crate_runc.state.store import StateStore


def run(store: StateStore, container_id: str, process: dict[str, Any], options: Options) -> int:
    """The exit status of the process, 0 when it is left to run (options.detach)."""
    options.container_id = container_id
    _check_options(process, options)
    with store.open(container_id, lock=False) as entry:
        state = entry.load()
        status = entry.status(state)
    if status == "stopped":
        raise StateError("cannot exec in a stopped container")
    if status == "paused":
        raise StateError("cannot exec in a paused container (use --ignore-paused to override)")
    if status not in ("created", "running"):
        raise StateError("cannot exec in a container that is not running")
    receiver = connect_pidfd_socket(options)
    init = _walk(state, process, options, store.root)
    try:
        try:
            if receiver:
                send_pidfd(receiver, options, init.fd, b"setns")
            if options.pid_file:
                write_pid_file(options.pid_file, init.pid)
        except BaseException:
            init.kill()
            raise
        return 0 if options.detach else foreground.wait(init)
    finally:
        init.close()


def _check_options(process: dict[str, Any], options: Options) -> None:
    terminal = bool(process.get("terminal"))
    if options.console_socket and not (terminal and options.detach):
        raise StateError("cannot use console socket if runc will not detach or allocate tty")
    if terminal and options.detach and not options.console_socket:
        raise StateError("cannot allocate tty if runc will detach without setting console socket")
    check_preserved(options.preserve_fds)


def _walk(state: ContainerState, process: dict[str, Any], options: Options, store_root: str) -> Init:
    facts = host.probe()
    steps = plan.make_exec(process, state.config, facts, options)
    target = pidfd.open_process(state.pid)
    if not state_store.is_alive(state):  # after pidfd_open: from here on the number cannot be another process's
        os.close(target)
        raise StateError("cannot exec in a stopped container")
    flags = namespaces.differing(state.pid)
    user_namespace = -1
    if facts.euid != 0 and flags & namespaces.NEWUSER:
        user_namespace = os.open(f"/proc/{state.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    child = start.take_sealed(user_namespace if user_namespace >= 0 else None)
    if user_namespace >= 0:
        os.close(user_namespace)
    bundle = Bundle(state.bundle, state.config, state.rootfs)
    context = ParentContext(state.config, state.bundle, cgroup.from_state(state, facts), {})
    message = parent.inputs(
        bundle,
        facts,
        options,
        {},
        entered=child.in_user_namespace,
        attaches=bool(steps.attach),
        seccomp=compiled_seccomp(state.config, store_root),
        process=process,
        flags=flags,
    )
    fds = [*parent.open_needs(plan.needs(state.config, options, create=False), {}), target]
    on_listener = listener_of(state.config, state.as_state_json("running"))
    return parent.walk(child, steps.prepare, steps.attach, context, message, fds, meanwhile=None, on_listener=on_listener)
