"""exec: one more process in a running container, by the same launch steps as its first (runtime-spec does not know it; runc's command line does)."""

from __future__ import annotations

import os

from crate_runc import cgroup, exec_process, handover, host, plan
from crate_runc.errors import StateError, StepError
from crate_runc.process.entrant import Entrant, EntryContext, Target
from crate_runc.state import store as state_store
from crate_runc.steps import keyring, launch, user
from crate_runc.steps import terminal as terminal_steps
from crate_runc.steps.cgroup import JoinCgroup
from crate_runc.steps.step import ParentContext, namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from crate_runc.cgroup import Cgroup
    from crate_runc.plan import Options, Plan
    from crate_runc.state.record import ContainerState
    from crate_runc.state.store import StateStore
    from crate_runc.steps.step import ParentStep


_PLANNED = (keyring, launch, terminal_steps, user)
"""What every plan of an exec imports: named at the top they come past the machinery of import (pack.py)."""


def run(store: StateStore, container_id: str, values: dict[str, Any], arguments: list[str], options: Options) -> int:
    """values: of the flags; arguments: the program's. The exit status of the process, 0 when it is left to run (options.detach)."""
    options.container_id = container_id
    with store.open(container_id, lock=False) as entry:
        state = entry.load()
        process = exec_process.make(state.config["process"], values, arguments)
        _check_options(process, options)
        _check_status(entry.status(state), ignore_paused=values.get("ignore-paused", False))
    receiver = handover.connect_pidfd_socket(options)
    entrant = _enter(state, process, options, store.root, values.get("cgroup", []))
    try:
        try:
            if receiver:
                handover.send_pidfd(receiver, options, entrant.fd, b"setns")
            if options.pid_file:
                handover.write_pid_file(options.pid_file, entrant.pid)
        except BaseException:
            entrant.kill()
            raise
        return 0 if options.detach else int(_foreground().wait(entrant))
    finally:
        entrant.close()


def _foreground() -> ModuleType:
    from crate_runc.process import foreground

    return foreground


def _check_status(status: str, *, ignore_paused: bool) -> None:
    if status == "stopped":
        raise StateError("cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise StateError("cannot exec in a paused container (use --ignore-paused to override)")
    if status not in ("created", "running", "paused"):
        raise StateError("cannot exec in a container that is not running")


def _check_options(process: dict[str, Any], options: Options) -> None:
    terminal = bool(process.get("terminal"))
    if options.console_socket and not (terminal and options.detach):
        raise StateError("cannot use console socket if runc will not detach or allocate tty")
    if terminal and options.detach and not options.console_socket:
        raise StateError("cannot allocate tty if runc will detach without setting console socket")
    handover.check_preserved(options.preserve_fds)
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from crate_runc.steps import labels

        labels.check(process)


def _enter(state: ContainerState, process: dict[str, Any], options: Options, store_root: str, sub_cgroups: list[str]) -> Entrant:
    """Its program runs when this returns; when it raises, nothing is left of it."""
    facts = host.probe()
    steps = plan.make_exec(process, state.config, facts, options)
    handover.warn_of_capabilities(process, facts, has_user_namespace="user" in namespace_paths(state.config))
    console = handover.connect_console(options.console_socket) if options.console_socket else -1
    group = cgroup.from_state(state, facts)
    if sub_cgroups:
        from crate_runc import exec_cgroup

        group.paths = exec_cgroup.below(group.paths, sub_cgroups)
    target = _target(state)
    entrance = group.entrance()
    if entrance:
        steps.prepare = [step for step in steps.prepare if not isinstance(step, JoinCgroup)]
    try:
        context = EntryContext(target, facts.last_capability)
        context.seccomp = handover.compiled_seccomp(state.config, store_root)
        late = facts.euid != 0 or facts.in_user_namespace
        entrant = Entrant(context, steps, entrance, preserved=options.preserve_fds, on_host_first=late)
    finally:
        target.close()
        if entrance:
            entrance.close()
    entrant.on_listener = handover.listener_of(state.config, state.as_state_json("running"))
    entrant.on_outside = group.join_unified if sub_cgroups else lambda pid: _join_unified(group, state.pid, pid)
    parent = ParentContext(state.config, state.bundle, group, {})
    try:
        if not options.detach:
            _foreground()  # while the stub is at work
        _walk(entrant, steps, parent)
        if console >= 0:
            _pass_terminal(entrant, console, options.console_socket)
    except BaseException:
        entrant.kill()
        entrant.close()
        raise
    return entrant


def _join_unified(group: Cgroup, init: int, pid: int) -> None:
    from crate_runc import exec_cgroup

    exec_cgroup.join_unified(group, init, pid)


def _target(state: ContainerState) -> Target:
    gone = StateError("cannot exec in a stopped container")
    try:
        target = Target(state.pid)
    except ProcessLookupError:
        raise gone from None
    if not state_store.is_alive(state):  # after all of it was opened: so none of it can be another process's
        target.close()
        raise gone
    return target


def _walk(entrant: Entrant, steps: Plan, parent: ParentContext) -> None:
    def apply(pid: int, walked: list[ParentStep]) -> None:
        parent.pid = pid
        for step in walked:
            try:
                step.apply(parent)
            except OSError as error:
                where = f" {error.filename}" if error.filename else ""
                text = f"{step.describe()}:{where} {(error.strerror or '').lower()}"
                raise StepError(step.describe(), error.errno or 0, text) from None

    if steps.prepare:
        apply(entrant.stub, steps.prepare)
        entrant.go_on()
    entrant.enter((lambda pid: apply(pid, steps.attach)) if steps.attach else None)


def _pass_terminal(entrant: Entrant, console: int, path: str) -> None:
    terminal_steps.send_master(console, entrant.terminal, path)
    os.close(entrant.terminal)
    entrant.terminal = -1
