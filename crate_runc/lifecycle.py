"""create, start, run, kill, delete, state and list: lock, load, check, act, save (runtime-spec, runtime.md "Operations").

Every command ends; what stays is the state on disk and the container's own processes. What exec does is in exec.py.
"""

from __future__ import annotations

import os
import time

from crate_runc import cgroup, config, host, plan
from crate_runc.errors import CgroupError, RuncError, StateError, StepError
from crate_runc.kernel import pidfd, prctl, signals
from crate_runc.process import foreground, parent, start_gate
from crate_runc.state import store as state_store
from crate_runc.state.record import ContainerState
from crate_runc.steps import hooks, namespaces
from crate_runc.steps.step import ParentContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.config import Bundle
    from crate_runc.host import HostFacts
    from crate_runc.plan import Options
    from crate_runc.process.parent import Init
    from crate_runc.state.store import Entry, StateStore

_END_SECONDS = 10.0


def create(store: StateStore, container_id: str, bundle_path: str, options: Options) -> None:
    """The container is then "created": all is set up, its program waits for `start`."""
    options.detach = True
    with _Creation(store, container_id, bundle_path, options) as creation:
        creation.make()


def start(store: StateStore, container_id: str) -> None:
    with store.open(container_id) as entry:
        state = entry.load()
        _start(entry, state)


def run(store: StateStore, container_id: str, bundle_path: str, options: Options) -> int:
    """Create and start; in the foreground also wait, forwarding signals and the terminal, and delete. The exit status: 128 + n for signal n."""
    if not options.no_subreaper and not options.detach:
        prctl.set_subreaper(True)
    with _Creation(store, container_id, bundle_path, options) as creation:
        init = creation.make()
        try:
            _start(creation.entry, creation.state)
        except BaseException:
            init.kill()
            creation.undo()
            raise
    if options.detach:
        return 0
    try:
        status = foreground.wait(init)
    finally:
        init.close()
    if not options.keep:
        delete(store, container_id, force=False)
    return status


def kill(store: StateStore, container_id: str, signal: int, all: bool = False) -> None:
    """A signal to the container's first process, or to every process in its cgroup."""
    with store.open(container_id, lock=False) as entry:
        state = entry.load()
        status = entry.status(state)
        if all:
            cgroup.from_paths(state.cgroup_paths, host.probe()).signal(signal)
            return
        if status not in ("created", "running", "paused"):
            raise StateError("container not running")
        _send(state, signal)


def delete(store: StateStore, container_id: str, force: bool = False) -> None:
    """Remove a stopped container (a created one is ended first; with force any). With force a missing one is no error."""
    try:
        entry = store.open(container_id)
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
        _remove(entry, state)


def state(store: StateStore, container_id: str) -> dict[str, Any]:
    with store.open(container_id, lock=False) as entry:
        record = entry.load()
        return record.as_state_json(entry.status(record))


def list_states(store: StateStore) -> list[dict[str, Any]]:
    """Of each container what `state` says, and the name or number of its owner."""
    found = []
    for entry, record in store.entries():
        found.append({**record.as_state_json(entry.status(record)), "owner": record.owner})
    return found


class _Creation:
    """What `create` and `run` have in common: the checked bundle, the plan, the locked state directory; ends with the lock."""

    __slots__ = ("bundle", "entry", "facts", "group", "options", "plan", "state")

    def __init__(self, store: StateStore, container_id: str, bundle_path: str, options: Options) -> None:
        options.container_id = container_id
        self.options = options
        self.bundle = config.load(bundle_path)
        self.facts = host.probe()
        _check_options(self.bundle, self.facts, options)
        self.plan = plan.make(self.bundle, self.facts, options)
        self.group = cgroup.open_for(self.bundle.config, self.facts, container_id)
        self.entry = store.create(container_id)
        self.state = ContainerState(
            id=container_id,
            bundle=self.bundle.path,
            rootfs=self.bundle.rootfs,
            config=self.bundle.config,
            owner=self.facts.euid,
            created=_now(),
            cgroup_paths=self.group.paths,
        )

    def __enter__(self) -> _Creation:
        return self

    def __exit__(self, *_: object) -> None:
        self.entry.close()

    def make(self) -> Init:
        """The container's init, waiting at the start gate. When this fails, nothing is left of it."""
        try:
            self.entry.save(self.state)
            self.group.create()
            init = self._walk()
        except BaseException:
            self.undo()
            raise
        try:
            self.state.pid = init.pid
            self.state.start_time = state_store.start_time(init.pid) or 0
            self.state.boot_id = state_store.boot_id()
            self.state.cgroup_paths = self.group.paths
            self.state.move_to("created")
            self.entry.save(self.state)
            if self.options.pid_file:
                write_pid_file(self.options.pid_file, init.pid)
        except BaseException:
            init.kill()
            self.undo()
            raise
        return init

    def undo(self) -> None:
        parent.discard_early()
        try:
            self.group.kill()
            self.group.delete()
        except CgroupError:
            pass
        _run_poststop_hooks(self.state)
        self.entry.remove()

    def _walk(self) -> Init:
        wanted = namespaces.paths(self.bundle.config)
        gate = start_gate.make(self.entry.directory)
        fds = parent.open_needs(self.plan.needs(), {start_gate.NEED: gate})
        joined = wanted.get("user")
        user_namespace = os.open(joined, os.O_RDONLY | os.O_CLOEXEC) if joined else None
        child = parent.take_child(user_namespace=user_namespace, new_user_namespace="user" in wanted)
        if user_namespace is not None:
            os.close(user_namespace)
        state_json = self.state.as_state_json("creating")
        hook_state: dict[str, Any] = {
            name: state_json[name] for name in ("ociVersion", "id", "bundle", "annotations") if name in state_json
        }
        context = ParentContext(self.bundle.config, self.bundle.path, self.group, hook_state)
        message = parent.inputs(self.bundle, self.facts, self.options, hook_state, entered=child.in_user_namespace)
        return parent.walk(child, self.plan, context, message, fds)


def _check_options(bundle: Bundle, facts: HostFacts, options: Options) -> None:
    """What the command line and the bundle do not say alike."""
    terminal = bool(bundle.config["process"].get("terminal"))
    if options.console_socket and not terminal:
        raise StateError("cannot use console socket if runc will not detach or allocate tty")
    if options.console_socket and not options.detach:
        raise StateError("cannot use console socket if runc will not detach or allocate tty")
    if terminal and options.detach and not options.console_socket:
        raise StateError("cannot allocate tty if runc will detach without setting console socket")
    if facts.euid != 0 and "user" not in namespaces.paths(bundle.config):
        raise StateError("rootless container requires user namespaces")
    if not os.path.isdir(bundle.rootfs):
        raise StateError(f"invalid rootfs: stat {bundle.rootfs}: no such file or directory")
    listening = os.environ.get("LISTEN_FDS", "")
    options.listen_fds = int(listening) if listening.isascii() and listening.isdigit() else 0
    check_preserved(options.preserve_fds + options.listen_fds)


def check_preserved(count: int) -> None:
    """Descriptors 3… that the caller promised: those of ours are all close-on-exec."""
    for fd in range(3, 3 + count):
        try:
            given = os.get_inheritable(fd)
        except OSError:
            given = False
        if not given:
            raise StateError(f"unable to preserve file descriptor {fd}: it is not open")


def _start(entry: Entry, state: ContainerState) -> None:
    status = entry.status(state)
    if status == "stopped":
        raise StateError("cannot start a container that has stopped")
    if status == "running":
        raise StateError("cannot start an already running container")
    if status != "created":
        raise StateError(f"cannot start a container in the {status} state")
    if not start_gate.pass_through(entry.directory):
        raise StateError("cannot start a container that has stopped")
    state.move_to("running")
    entry.save(state)
    for hook in state.config.get("hooks", {}).get("poststart", []):
        _run_poststart_hook(entry, state, hook)


def _run_poststart_hook(entry: Entry, state: ContainerState, hook: dict[str, Any]) -> None:
    """runtime-spec 1.3: a hook that fails here stops the container."""
    try:
        hooks.run("poststart", hook, _hook_state(state, "running"))
    except StepError:
        try:
            _send(state, signals.SIGKILL)
        except StateError:
            pass
        raise


def _run_poststop_hooks(state: ContainerState) -> list[str]:
    """All run; their failures are returned, as the container is gone anyway."""
    failures = []
    for hook in state.config.get("hooks", {}).get("poststop", []):
        try:
            hooks.run("poststop", hook, _hook_state(state, "stopped"))
        except StepError as error:
            failures.append(str(error))
    return failures


def _hook_state(state: ContainerState, status: str) -> dict[str, Any]:
    value = state.as_state_json(status)
    return {name: value[name] for name in ("ociVersion", "id", "status", "pid", "bundle", "annotations") if name in value}


def _remove(entry: Entry, state: ContainerState) -> None:
    """End what is left of the container, then its cgroup, then its state, then the poststop hooks."""
    if state_store.is_alive(state):
        _end(state)
    group = cgroup.from_paths(state.cgroup_paths, host.probe())
    group.kill()
    group.delete()
    entry.remove()
    _run_poststop_hooks(state)


def _end(state: ContainerState) -> None:
    """SIGKILL to the first process, with which a pid namespace ends, and wait until it is gone."""
    try:
        _send(state, signals.SIGKILL)
    except StateError:
        return
    deadline = time.monotonic() + _END_SECONDS
    while state_store.is_alive(state):
        if time.monotonic() > deadline:
            raise StateError(f"kill container {state.id}: process {state.pid} does not end")
        time.sleep(0.001)


def _send(state: ContainerState, signal: int) -> None:
    """To the recorded process and no other that has its number now. Raises StateError when it is gone."""
    try:
        fd = pidfd.open_process(state.pid)
    except ProcessLookupError:
        raise StateError("container not running") from None
    try:
        if not state_store.is_alive(state):
            raise StateError("container not running")
        pidfd.send_signal(fd, signal)
    except ProcessLookupError:
        raise StateError("no such process") from None
    except OSError as error:
        raise RuncError(f"signal container {state.id}: {(error.strerror or '').lower()}") from None
    finally:
        os.close(fd)


def write_pid_file(path: str, pid: int) -> None:
    """Whoever waits for the file finds it whole."""
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        raise RuncError(f"write pid file {path}: {(error.strerror or '').lower()}") from None


def _now() -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    nanoseconds = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 10**9)) + f".{nanoseconds % 10**9:09d}Z"
