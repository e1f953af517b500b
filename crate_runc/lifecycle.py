"""create, start, run, kill and delete: lock, load, check, act, save (runtime-spec, runtime.md "Operations").

Every command ends; what stays is the state on disk and the container's own processes. How a container is made
is in creation.py, what exec does in exec.py.
"""

from __future__ import annotations

import os
import select

from crate_runc import cgroup, host
from crate_runc.cgroup import freezer
from crate_runc.errors import RuncError, StateError, StepError
from crate_runc.kernel import pidfd, signals
from crate_runc.process import start_gate
from crate_runc.state import store as state_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.cgroup import Cgroup
    from crate_runc.options import Options
    from crate_runc.process.notify_socket import Relay
    from crate_runc.state.record import ContainerState
    from crate_runc.state.store import Entry, StateStore


_END_MILLISECONDS = 10_000


def create(store: StateStore, container_id: str, bundle_path: str, options: Options) -> None:
    """The container is then "created": all is set up, its program waits for `start`."""
    from crate_runc.creation import Creation

    options.detach = True
    with Creation(store, container_id, bundle_path, options) as creation:
        creation.make().close()


def start(store: StateStore, container_id: str) -> None:
    with store.open(container_id) as entry:
        state = entry.load()
        status = entry.status(state)
        if status == "stopped":
            raise StateError("cannot start a container that has stopped")
        if status == "running":
            raise StateError("cannot start an already running container")
        if status != "created":
            raise StateError(f"cannot start a container in the {status} state")
        relay = _notify_relay(entry)
        try:
            _pass_gate(entry, state)
        except StepError:  # a hook failed
            _remove(entry, state, cgroup.from_state(state, host.probe()))
            raise
    if relay:
        _await_ready(relay, state.pid)


def run(store: StateStore, container_id: str, bundle_path: str, options: Options) -> int:
    """Create and start; in the foreground also wait, forwarding signals and the terminal, and delete. The exit status: 128 + n for signal n."""
    from crate_runc.creation import Creation
    from crate_runc.kernel import prctl

    if not options.no_subreaper and not options.detach:
        prctl.set_subreaper(True)
    with Creation(store, container_id, bundle_path, options) as creation:
        init = creation.make(starts_at_once=True)
        try:
            relay = _notify_relay(creation.entry)
            _pass_gate(creation.entry, creation.state)
        except BaseException:
            init.kill()
            creation.undo(started=True)
            raise
    if options.detach:
        if relay:
            relay.wait(init.fd, init.pid)
        init.close()
        return 0
    from crate_runc.process import foreground

    try:
        status = foreground.wait(init, relay)
    finally:
        init.close()
    if not options.keep:
        with store.open(container_id) as entry:
            _remove(entry, creation.state, creation.group)
    return status


def kill(store: StateStore, container_id: str, signal: int, all: bool = False) -> None:
    """A signal to the container's first process, or to every process in its cgroup."""
    with store.open(container_id, lock=False) as entry:
        state = entry.load()
        status = entry.status(state)
        if all and state.cgroup_paths:
            cgroup.from_state(state, host.probe()).signal(signal)
            _thaw_killed(state, signal)
            return
        if status not in ("created", "running", "paused"):
            raise StateError("container not running")
        _send(state, signal)
        _thaw_killed(state, signal)


def delete(store: StateStore, container_id: str, force: bool = False) -> None:
    """Remove a stopped container (a created one is ended first; with force any). With force a missing one is no error, and who holds it is
    not waited for without end."""
    try:
        entry = _open_by_force(store, container_id) if force else store.open(container_id)
    except StateError:
        if force:
            return
        raise
    with entry:
        try:
            state = entry.load()
        except StateError:
            if not force:
                raise
            entry.remove()  # what a command left that was killed before it wrote anything
            return
        status = entry.status(state)
        if status not in ("stopped", "created") and not force:
            raise StateError(f"cannot delete container {container_id} that is not stopped: {status}")
        _remove(entry, state, cgroup.from_state(state, host.probe()))


def _open_by_force(store: StateStore, container_id: str) -> Entry:
    try:
        return store.open(container_id, patience=0)
    except state_store.Busy:
        from crate_runc import take_over

        return take_over.open_entry(store, container_id)


def _await_ready(relay: Relay, pid: int) -> None:
    try:
        process = pidfd.open_process(pid)
    except ProcessLookupError:
        return  # it has ended already
    try:
        relay.wait(process, pid)
    finally:
        os.close(process)


def _notify_relay(entry: Entry) -> Relay | None:
    """What carries the container's READY=1 to the service manager, where there is one that waits for it."""
    if not os.environ.get("NOTIFY_SOCKET"):
        return None
    from crate_runc.process import notify_socket

    return notify_socket.listen(entry.directory)


def _pass_gate(entry: Entry, state: ContainerState) -> None:
    """From created to running. Raises StepError where a hook fails, and then the container must be destroyed."""
    if not start_gate.pass_through(entry.directory):
        raise StateError("cannot start a container that has stopped")
    state.move_to("running")
    entry.save(state)
    if state.config.get("hooks"):
        from crate_runc import lifecycle_hooks

        lifecycle_hooks.poststart(state, entry.directory)


def run_poststop_hooks(state: ContainerState) -> None:
    if state.config.get("hooks", {}).get("poststop"):
        from crate_runc import lifecycle_hooks

        lifecycle_hooks.poststop(state)


def _remove(entry: Entry, state: ContainerState, group: Cgroup) -> None:
    """End what is left of the container, then its cgroup, then its state, then the poststop hooks."""
    if state_store.is_alive(state):
        _end(state)
    if not state.pid or not has_own_pid_namespace(state.config):
        group.kill()
        group.delete()
    elif not group.processes():
        group.delete()
    remove_resctrl(state)
    entry.remove()
    run_poststop_hooks(state)


def remove_resctrl(state: ContainerState) -> None:
    if state.resctrl:
        from crate_runc.steps import intel_rdt

        intel_rdt.remove(state.resctrl)


def has_own_pid_namespace(config: dict[str, Any]) -> bool:
    """Then all its processes have ended with the first; who is left in the cgroup belongs to another container that names the same path."""
    entries = config.get("linux", {}).get("namespaces", [])
    return any(entry["type"] == "pid" and not entry.get("path") for entry in entries)


def _end(state: ContainerState) -> None:
    """SIGKILL to the first process, with which a pid namespace ends, and wait until it is gone."""
    try:
        process = _open(state)
    except StateError:
        return
    try:
        _signal(state, process, signals.SIGKILL)
        _thaw_killed(state, signals.SIGKILL)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(_END_MILLISECONDS):
            raise StateError(f"kill container {state.id}: process {state.pid} does not end")
    finally:
        os.close(process)


def _thaw_killed(state: ContainerState, signal: int) -> None:
    """In a frozen cgroup of v1 a killed process ends when it is thawed."""
    if signal == signals.SIGKILL and freezer.is_frozen(state.cgroup_paths):
        freezer.thaw(state.cgroup_paths)


def _send(state: ContainerState, signal: int) -> None:
    """Raises StateError when the process is gone."""
    process = _open(state)
    try:
        if not _signal(state, process, signal):
            raise StateError("no such process")
    finally:
        os.close(process)


def _open(state: ContainerState) -> int:
    """A pidfd of the recorded process, and of no other that has its number now; the caller closes it. Raises StateError when it is gone."""
    try:
        process = pidfd.open_process(state.pid)
    except ProcessLookupError:
        raise StateError("container not running") from None
    if not state_store.is_alive(state):
        os.close(process)
        raise StateError("container not running")
    return process


def _signal(state: ContainerState, process: int, signal: int) -> bool:
    """False: it is gone."""
    try:
        pidfd.send_signal(process, signal)
    except ProcessLookupError:
        return False
    except OSError as error:
        raise RuncError(f"signal container {state.id}: {(error.strerror or '').lower()}") from None
    return True
