"""THE ORDER: what creating a container, or running one more process in it, does, in which process, and in which order. Pure.

Two processes walk the lists in strict alternation. The child walks `begin` (the user and pid namespaces), then waits while the parent walks
`prepare`; the container's init, forked from the child, walks `setup` and waits while the parent walks `attach`; then init walks `enter` across
the root switch, and `launch`, which ends in execve. The one overlap: the parent joins the cgroup while init already sets up.
"""

from __future__ import annotations

from crate_runc.process.start_gate import AwaitStart
from crate_runc.steps import (
    cgroup,
    cgroup_mounts,
    devices,
    hooks,
    hostname,
    id_maps,
    keyring,
    launch,
    masked_paths,
    mounts,
    namespaces,
    oom,
    rlimits,
    root,
    sysctl,
    terminal,
    user,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.config import Bundle
    from crate_runc.host import HostFacts
    from crate_runc.steps.step import ChildStep, ParentStep, Step


class Options:
    """What the command line says beside the bundle. Only values that marshal can carry."""

    __slots__ = (
        "console_socket",
        "container_id",
        "detach",
        "keep",
        "listen_fds",
        "no_new_keyring",
        "no_pivot",
        "no_subreaper",
        "pid_file",
        "preserve_fds",
        "tty",
    )

    def __init__(
        self,
        *,
        container_id: str = "",
        detach: bool = False,
        console_socket: str = "",
        pid_file: str = "",
        preserve_fds: int = 0,
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        keep: bool = False,
        no_subreaper: bool = False,
        tty: bool = False,
        listen_fds: int = 0,
    ) -> None:
        self.container_id = container_id
        self.detach = detach
        self.console_socket = console_socket
        self.pid_file = pid_file
        self.preserve_fds = preserve_fds
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.keep = keep
        self.no_subreaper = no_subreaper
        self.tty = tty
        self.listen_fds = listen_fds


class Plan:
    __slots__ = ("attach", "begin", "enter", "launch", "prepare", "setup")

    def __init__(self) -> None:
        self.begin: list[ChildStep] = []
        self.prepare: list[ParentStep] = []
        self.setup: list[ChildStep] = []
        self.attach: list[ParentStep] = []
        self.enter: list[ChildStep] = []
        self.launch: list[ChildStep] = []

    def needs(self) -> list[tuple[str, str]]:
        """What the parent opens on the host for the child's steps, without repetition, in order."""
        lists: list[list[ChildStep]] = [self.begin, self.setup, self.enter, self.launch]
        return list(dict.fromkeys(need for steps in lists for step in steps for need in step.needs()))

    def waits_at_gate(self) -> bool:
        return any(isinstance(step, AwaitStart) for step in self.launch)

    def render(self) -> str:
        lists: list[tuple[str, list[Step]]] = [
            ("begin: the child, before it forks the container's init", [*self.begin]),
            ("prepare: the parent, while the child waits", [*self.prepare]),
            ("setup: init, before the root switch", [*self.setup]),
            ("attach: the parent, while init waits", [*self.attach]),
            ("enter: init, across the root switch", [*self.enter]),
            ("launch: init", [*self.launch]),
        ]
        blocks = [f"{title}\n" + "".join(f"  {step.describe()}\n" for step in steps) for title, steps in lists if steps]
        return "\n".join(blocks)


def make(bundle: Bundle, facts: HostFacts, options: Options) -> Plan:
    """The plan of create and run."""
    config, process = bundle.config, bundle.config["process"]
    wanted = namespaces.paths(config)
    in_user_namespace = "user" in wanted or facts.in_user_namespace
    plan = Plan()
    plan.begin = namespaces.plan_begin(config)
    plan.prepare = [
        *(id_maps.plan(config, facts) if wanted.get("user") == "" else []),
        *oom.plan(process, may_fail=in_user_namespace or facts.euid != 0),
        *cgroup.plan_prepare(),
    ]
    plan.setup = [
        *keyring.plan(options.container_id, wanted=not options.no_new_keyring),
        *namespaces.plan_setup(config),
        *root.plan_setup(config),
        *masked_paths.plan_setup(config),
        *_mounts(bundle, facts, wanted),
        *devices.plan(config, bind=in_user_namespace),
        *terminal.plan_setup(process, socket=options.console_socket, bind_console=True),
        *launch.plan_setup(process),
    ]
    plan.attach = [
        *(rlimits.plan_parent(process) if "user" in wanted else []),
        *cgroup.plan_limits(config, facts),
        *hooks.plan_parent(config),
    ]
    plan.enter = [
        *sysctl.plan(config),
        *hooks.plan_child(config, "createContainer"),
        *root.plan_enter(config, has_mount_namespace="mount" in wanted, no_pivot=options.no_pivot),
        *hostname.plan(config),
        *mounts.plan_readonly(config),
        *masked_paths.plan_enter(config),
        *root.plan_readonly(config),
    ]
    plan.launch = [
        *terminal.plan_launch(process),
        *([] if "user" in wanted else rlimits.plan_launch(process)),
        *_launch(process, facts, options, [AwaitStart(), *hooks.plan_child(config, "startContainer")]),
    ]
    return plan


def make_exec(process: dict[str, Any], config: dict[str, Any], facts: HostFacts, options: Options) -> Plan:
    """The plan of exec: the container's namespaces are there, and the child has entered them when it walks `enter`."""
    in_user_namespace = "user" in namespaces.paths(config)
    plan = Plan()
    plan.prepare = [
        *oom.plan(process, may_fail=in_user_namespace or facts.euid != 0),
        *cgroup.plan_prepare(),
    ]
    plan.enter = [
        *keyring.plan(options.container_id, wanted=not options.no_new_keyring),
        *terminal.plan_setup(process, socket=options.console_socket, bind_console=False),
    ]
    plan.attach = rlimits.plan_parent(process) if in_user_namespace else []
    plan.launch = [
        *terminal.plan_launch(process),
        *([] if in_user_namespace else rlimits.plan_launch(process)),
        *_launch(process, facts, options, cgroup.plan_setup()),
    ]
    return plan


def _mounts(bundle: Bundle, facts: HostFacts, wanted: dict[str, str]) -> list[ChildStep]:
    """In the order of config.json; before the first that shows the container's own cgroup, the parent must have moved it there."""
    config = bundle.config
    foreign_network = "user" in wanted and wanted.get("network") != ""
    steps: list[ChildStep] = []
    late: list[ChildStep] = [*cgroup.plan_setup(), *namespaces.plan_cgroup(config)]
    for entry in config.get("mounts", []):
        if entry.get("type") in ("cgroup", "cgroup2"):
            steps += late
            late = []
        if entry.get("type") == "cgroup":
            steps.append(cgroup_mounts.plan_one(entry, facts.cgroup_mode, has_namespace="cgroup" in wanted))
        else:
            steps.append(mounts.plan_one(entry, bundle.path, sysfs_of_host=foreign_network))
    return [*steps, *late]


def _launch(process: dict[str, Any], facts: HostFacts, options: Options, gate: list[ChildStep]) -> list[ChildStep]:
    return [
        *launch.plan_inherited(options.preserve_fds + options.listen_fds),
        *launch.plan_working_directory(process),
        *user.plan(process, facts.last_capability),
        *launch.plan_program(process, options.listen_fds),
        *gate,
        *launch.plan_execute(process),
    ]
