"""Make a container: what `create` and `run` have in common, from the bundle to a first process that waits at the start gate.

The state is saved as "creating" before anything is done, so that a later `delete --force` finds what to clean up, whenever this ends.
"""

from __future__ import annotations

import os
import time

from crate_runc import cgroup, config, host, plan
from crate_runc.errors import CgroupError, StateError
from crate_runc.handover import (
    check_preserved,
    compiled_seccomp,
    connect_pidfd_socket,
    listener_of,
    send_pidfd,
    warn_of_capabilities,
    write_pid_file,
)
from crate_runc.lifecycle import has_own_pid_namespace, remove_resctrl, run_poststop_hooks
from crate_runc.process import parent, start, start_gate
from crate_runc.state import store as state_store
from crate_runc.state.record import ContainerState
from crate_runc.steps.step import ChildContext, ParentContext, namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from crate_runc.config import Bundle
    from crate_runc.host import HostFacts
    from crate_runc.options import Options
    from crate_runc.process.channel import Channel
    from crate_runc.process.parent import Init
    from crate_runc.process.start import Child
    from crate_runc.state.store import StateStore


class Creation:
    """What `create` and `run` have in common: the checked bundle, the plan, the locked state directory; ends with the lock."""

    __slots__ = ("bundle", "entry", "facts", "group", "options", "parent_lists", "pidfd_receiver", "state")

    def __init__(self, store: StateStore, container_id: str, bundle_path: str, options: Options) -> None:
        options.container_id = container_id
        self.options = options
        self.bundle = config.load(bundle_path, options.config_file)
        self.facts = host.probe(options.rootless)
        _check_options(self.bundle, self.facts, options)
        self.parent_lists = plan.of_parent(self.bundle.config, self.facts, container_id, options.cgroup_driver)
        self.group = cgroup.open_for(self.bundle.config, self.facts, container_id, options.cgroup_driver)
        self.pidfd_receiver = connect_pidfd_socket(options)
        in_user_namespace = "user" in namespace_paths(self.bundle.config)
        warn_of_capabilities(self.bundle.config["process"], self.facts, has_user_namespace=in_user_namespace)
        resctrl = _check_host(self.bundle.config, container_id)
        self.entry = store.create(container_id)
        if os.environ.get("NOTIFY_SOCKET"):
            from crate_runc.process import notify_socket

            self.bundle.config = notify_socket.add_to(self.bundle.config, self.entry.directory)
        self.state = ContainerState(
            id=container_id,
            bundle=self.bundle.path,
            rootfs=self.bundle.rootfs,
            config=self.bundle.config,
            owner=self.facts.euid,
            created=_now(),
            cgroup_paths=self.group.paths,
            resctrl=resctrl,
            cgroup_driver=self.group.driver,
        )

    def __enter__(self) -> Creation:
        return self

    def __exit__(self, *_: object) -> None:
        self.entry.close()

    def make(self, *, starts_at_once: bool = False) -> Init:
        """The container's init, waiting at the start gate. When this fails, nothing is left of it. starts_at_once: the next thing the caller
        does is to open the gate and save the state."""
        try:
            self.entry.save(self.state)
            if os.environ.get("NOTIFY_SOCKET"):
                from crate_runc.process import notify_socket

                notify_socket.make_directory(self.entry.directory)
            self.group.create()
            init = self._walk()
        except BaseException:
            self.undo()
            raise
        try:
            self.state.move_to("created")
            if not starts_at_once:
                self.entry.save(self.state)
            if self.options.pid_file:
                write_pid_file(self.options.pid_file, init.pid)
            if self.pidfd_receiver:
                send_pidfd(self.pidfd_receiver, self.options, init.fd, b"standard")
        except BaseException:
            init.kill()
            self.undo()
            raise
        return init

    def _record(self, init: Init) -> None:
        """While init sets up: who it is, for whoever has to clean up after us; and load what comes later."""
        self.state.pid = init.pid
        self.state.start_time = state_store.start_time(init.pid) or 0
        self.state.boot_id = state_store.boot_id()
        self.state.cgroup_paths = self.group.paths
        self.entry.save(self.state)
        if not self.options.detach:
            from crate_runc.process import foreground

            assert foreground

    def undo(self, *, started: bool = False) -> None:
        """Init has been killed. Only a container that was started, in the pid namespace of others, can have more processes than that; who else
        is in the cgroup belongs to another container that names the same path."""
        try:
            if started and not has_own_pid_namespace(self.state.config):
                self.group.kill()
            if not self.group.processes():
                self.group.delete()
        except (CgroupError, OSError):
            pass
        remove_resctrl(self.state)
        self.entry.remove()
        run_poststop_hooks(self.state)

    def _walk(self) -> Init:
        configuration = self.bundle.config
        prepare, attach = self.parent_lists
        gate = start_gate.make(self.entry.directory)
        ready = {start_gate.NEED: gate}
        if configuration.get("hooks", {}).get("startContainer"):
            from crate_runc import lifecycle_hooks

            ready["failure", ""] = lifecycle_hooks.open_failure(self.entry.directory)
        fds = parent.open_needs(plan.needs(configuration, self.options, create=True), ready)
        if sources := plan.sources(configuration, self.facts):
            from crate_runc.mounts import sources as mount_sources

            fds += mount_sources.open_all(sources, configuration, self.bundle.path)
        state_json = self.state.as_state_json("creating")
        hook_state: dict[str, Any] = {
            name: state_json[name] for name in ("ociVersion", "id", "bundle", "annotations") if name in state_json
        }
        seccomp = compiled_seccomp(configuration, os.path.dirname(self.entry.directory))
        message = None
        wanted = namespace_paths(configuration)
        if start.is_sealed(wanted, hooks_inside=("failure", "") in ready):
            child = start.start_sealed(wanted)
            message = parent.inputs(
                self.bundle,
                self.facts,
                self.options,
                hook_state,
                entered=child.in_user_namespace,
                attaches=bool(attach),
                seccomp=seccomp,
            )
        else:
            child = self._fork(fds, hook_state, seccomp)
        context = ParentContext(configuration, self.bundle.path, self.group, hook_state)
        on_listener = listener_of(configuration, {**hook_state, "status": "creating"})
        return parent.walk(child, prepare, attach, context, message, fds, meanwhile=self._record, on_listener=on_listener)

    def _fork(self, fds: list[int], hook_state: dict[str, Any], seccomp: bytes) -> Child:
        """A child that inherits all that it will do, born in its cgroup."""
        from crate_runc.process import child as contained

        configuration, attaches = self.bundle.config, bool(self.parent_lists[1])
        needs = plan.needs(configuration, self.options, create=True) + plan.sources(configuration, self.facts)
        lists = plan.of_child(self.bundle, self.facts, self.options)
        wanted = namespace_paths(configuration)
        entrance = self.group.entrance()

        def body(channel: Channel, is_init: bool) -> NoReturn:
            self.entry.forget()
            child = ChildContext(configuration, self.bundle.path, self.bundle.rootfs, channel, hook_state)
            child.fds = dict(zip(needs, fds, strict=False))  # sources at the end may have been left off
            child.through_stub = True
            child.seccomp = seccomp
            child.parent_attaches = attaches
            contained.become(child, lists, entrance, is_init=is_init, entered=is_init and "user" in wanted)

        try:
            return start.fork(wanted, entrance, body)
        finally:
            if entrance:
                entrance.close()


def _check_host(configuration: dict[str, Any], container_id: str) -> list[str]:
    """What rare properties ask of this host, before anything is made. Raises BundleError. The directories that linux.intelRdt will make."""
    linux, process = configuration.get("linux", {}), configuration["process"]
    if process.get("apparmorProfile") or process.get("selinuxLabel"):
        from crate_runc.steps import labels

        labels.check(process)
    if linux.get("sysctl"):
        from crate_runc.steps import sysctl

        sysctl.check_namespaces(configuration)
    if "intelRdt" not in linux:
        return []
    from crate_runc.steps import intel_rdt

    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return intel_rdt.check(configuration, container_id, file.read())


def _check_options(bundle: Bundle, facts: HostFacts, options: Options) -> None:
    """What the command line and the bundle do not say alike."""
    terminal = bool(bundle.config["process"].get("terminal"))
    if options.console_socket and not (terminal and options.detach):
        raise StateError("cannot use console socket if runc will not detach or allocate tty")
    if terminal and options.detach and not options.console_socket:
        raise StateError("cannot allocate tty if runc will detach without setting console socket")
    if facts.euid != 0 and "user" not in namespace_paths(bundle.config):
        raise StateError("rootless container requires user namespaces")
    if not os.path.isdir(bundle.rootfs):
        cause = "not a directory" if os.path.lexists(bundle.rootfs) else "no such file or directory"
        raise StateError(f"invalid rootfs: stat {bundle.rootfs}: {cause}")
    options.listen_fds = _listen_fds()
    check_preserved(options.preserve_fds + options.listen_fds)


def _listen_fds() -> int:
    """How many sockets the caller passes from descriptor 3 on (sd_listen_fds(3)): none where LISTEN_PID says that they are another's."""
    count = os.environ.get("LISTEN_FDS", "")
    mine = os.environ.get("LISTEN_PID") == str(os.getpid())
    return int(count) if mine and count.isascii() and count.isdigit() and len(count) < 10 else 0


def _now() -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    nanoseconds = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 10**9)) + f".{nanoseconds % 10**9:09d}Z"
