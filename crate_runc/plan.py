"""THE ORDER: what creating a container, or running one more process in it, does, in which process, and in which order. Pure.

Two processes walk the lists in strict alternation. The child walks `begin` (the user and pid namespaces), then waits while the parent walks
`prepare`; the container's init, forked from the child, walks `setup` and waits while the parent walks `attach`; then init walks `enter` across
the root switch, and `launch`, which ends in execve. The one overlap: where the child was not born in its cgroup, the parent moves it there
while init already sets up.
"""

from __future__ import annotations

from crate_runc.options import Options as Options
from crate_runc.steps.step import joins_before_user, namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from crate_runc.config import Bundle
    from crate_runc.host import HostFacts
    from crate_runc.steps.step import ChildStep, Config, ParentStep, Step

    # begin, setup, enter, launch
    ChildLists = tuple[list[ChildStep], list[ChildStep], list[ChildStep], list[ChildStep]]


class Plan:
    __slots__ = ("attach", "begin", "enter", "launch", "prepare", "setup")

    def __init__(self) -> None:
        self.begin: list[ChildStep] = []
        self.prepare: list[ParentStep] = []
        self.setup: list[ChildStep] = []
        self.attach: list[ParentStep] = []
        self.enter: list[ChildStep] = []
        self.launch: list[ChildStep] = []

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
    plan = Plan()
    plan.prepare, plan.attach = of_parent(bundle.config, facts, options.container_id, options.cgroup_driver)
    plan.begin, plan.setup, plan.enter, plan.launch = of_child(bundle, facts, options)
    return plan


def of_parent(
    config: Config, facts: HostFacts, container_id: str = "", cgroup_driver: str = "cgroupfs"
) -> tuple[list[ParentStep], list[ParentStep]]:
    """`prepare` and `attach`. Each process imports the steps that it walks, when it needs them: that is most of what a start costs."""
    from crate_runc.steps import cgroup, oom

    process, wanted = config["process"], namespace_paths(config)
    join = cgroup.plan_prepare(_unit(config, facts, container_id) if cgroup_driver == "systemd" else "", cgroup_driver)
    prepare: list[ParentStep] = [*oom.plan(process, may_fail=_is_restricted(config, facts)), *join]
    attach: list[ParentStep] = cgroup.plan_limits(config, facts)
    if wanted.get("user") == "":
        from crate_runc.steps import id_maps

        prepare = [*id_maps.plan(config, facts), *prepare]
    if "user" in wanted and process.get("rlimits"):
        from crate_runc.steps import rlimits

        attach = [*rlimits.plan_parent(process), *attach]
    if process.get("scheduler") or process.get("ioPriority"):
        from crate_runc.steps import scheduling

        attach = [*attach, *scheduling.plan_attach(process, processors=_processors(config), is_exec=False)]
    if "intelRdt" in config.get("linux", {}):
        from crate_runc.steps import intel_rdt

        attach = [*attach, *intel_rdt.plan(config, container_id, is_exec=False)]
    if config.get("linux", {}).get("netDevices"):
        from crate_runc.steps import net_devices

        attach = [*attach, *net_devices.plan(config, facts)]
    if config.get("hooks"):
        from crate_runc.steps import hooks

        attach = [*attach, *hooks.plan_parent(config)]
    return prepare, attach


def of_child(bundle: Bundle, facts: HostFacts, options: Options) -> ChildLists:
    """`begin`, `setup`, `enter` and `launch`."""
    from crate_runc.steps import hostname, keyring, launch, masked_paths, mounts, namespaces, root, terminal
    from crate_runc.steps.await_start import AwaitStart

    config, process = bundle.config, bundle.config["process"]
    wanted = namespace_paths(config)
    early = joins_before_user(wanted, facts.euid)
    setup = [
        *keyring.plan(options.container_id, wanted=not options.no_new_keyring),
        *namespaces.plan_setup(wanted, early),
        *root.plan_setup(config),
        *masked_paths.plan_setup(config),
        *_mounts(bundle, facts, wanted),
        *_devices(config, facts),
        *terminal.plan_setup(process, socket=options.console_socket, bind_console=True),
        *launch.plan_setup(process),
    ]
    enter = [
        *_sysctl(config),
        *_hooks(config, "createContainer"),
        *mounts.plan_readonly(config),
        *masked_paths.plan_enter(config),
        *root.plan_readonly(config),
        *root.plan_enter(config, has_mount_namespace="mount" in wanted, no_pivot=options.no_pivot),
        *hostname.plan(config),
    ]
    labels: Sequence[ChildStep] = ()
    if _is_labelled(process):
        from crate_runc.steps import labels as label_steps

        setup = [*label_steps.plan_keyring(process), *setup, *label_steps.plan_setup(process)]
        labels = label_steps.plan_launch(process)
    late_hooks = _hooks(config, "startContainer")
    gate = [AwaitStart(program_follows=not late_hooks), *late_hooks]
    launch_steps = [
        *_execution_domain(config),
        *_launch(process, config, facts, options, gate, limits_by_parent="user" in wanted, labels=labels),
    ]
    begin = namespaces.plan_begin(wanted, early)
    time = _time(config, wanted)
    return [*time, *begin] if "time" in early else [*begin, *time], setup, enter, launch_steps


def begin_of_init(begin: list[ChildStep]) -> list[ChildStep]:
    """What is left to do of `begin` for a child that was cloned into its user and pid namespaces."""
    return [step for step in begin if getattr(step, "after_clone", False)]


def _unit(config: Config, facts: HostFacts, container_id: str) -> str:
    from crate_runc.systemd import units

    slice, unit = units.unit_of(config, container_id, user=facts.rootless)
    return f"{unit} in {slice}"


def make_exec(process: dict[str, Any], config: Config, facts: HostFacts, options: Options) -> Plan:
    """The plan of exec: the container's namespaces are there, and the child has entered them when it walks `enter`."""
    from crate_runc.steps import cgroup, keyring, terminal

    limits_by_parent = "user" in namespace_paths(config)
    plan = Plan()
    plan.prepare = cgroup.plan_prepare()
    if "oomScoreAdj" in process:
        from crate_runc.steps import oom

        plan.prepare = [*oom.plan(process, may_fail=_is_restricted(config, facts)), *plan.prepare]
    if limits_by_parent and process.get("rlimits"):
        from crate_runc.steps import rlimits

        plan.attach = rlimits.plan_parent(process)
    affinity = bool(process.get("execCPUAffinity"))
    if affinity or process.get("scheduler") or process.get("ioPriority"):
        from crate_runc.steps import scheduling

        plan.prepare = [*scheduling.plan_prepare(process), *plan.prepare]
        plan.attach += scheduling.plan_attach(process, processors=_processors(config), is_exec=True)
    if _is_labelled(process):
        from crate_runc.steps import labels

        plan.begin = [*labels.plan_keyring(process), *labels.plan_launch(process, on_host=True)]
    plan.enter = [
        *keyring.plan(options.container_id, wanted=not options.no_new_keyring),
        *terminal.plan_setup(process, socket=options.console_socket, bind_console=False),
    ]
    if "intelRdt" in config.get("linux", {}):
        from crate_runc.steps import intel_rdt

        plan.attach += intel_rdt.plan(config, options.container_id, is_exec=True)
    plan.launch = [
        *_execution_domain(config),
        *_launch(process, config, facts, options, [], limits_by_parent=limits_by_parent, keep_affinity=affinity),
    ]
    return plan


def needs(config: Config, options: Options, *, create: bool) -> list[tuple[str, str]]:
    """(kind, path) of what the parent opens on the host for the child's steps, in the order in which the descriptors travel."""
    wanted: list[tuple[str, str]] = [("console", options.console_socket)] if options.console_socket else []
    if create:
        wanted += [("namespace", path) for path in namespace_paths(config).values() if path]
        wanted.append(("gate", ""))
        if config.get("hooks", {}).get("startContainer"):
            wanted.append(("failure", ""))
    return wanted


def _time(config: Config, wanted: dict[str, str]) -> list[ChildStep]:
    if "time" not in wanted:
        return []
    from crate_runc.steps import time_namespace

    return time_namespace.plan(config, wanted["time"])


def _is_labelled(process: dict[str, Any]) -> bool:
    return bool(process.get("apparmorProfile") or process.get("selinuxLabel"))


def _processors(config: Config) -> str:
    cpus: str = config.get("linux", {}).get("resources", {}).get("cpu", {}).get("cpus", "")
    return cpus


def _execution_domain(config: Config) -> list[ChildStep]:
    linux = config.get("linux", {})
    if not (linux.get("personality") or linux.get("memoryPolicy")):
        return []
    from crate_runc.steps import execution_domain

    return execution_domain.plan(config)


def sources(config: Config, facts: HostFacts) -> list[tuple[str, str]]:
    """The bind mounts, by their index, whose source the parent clones: idmapped ones, and for a user namespace all that root can reach."""
    namespaces = namespace_paths(config)
    in_general = facts.euid == 0 and "user" in namespaces and namespaces.get("mount") == ""
    mounts = config.get("mounts", [])
    if not in_general and not any("idmap" in " ".join(entry.get("options", ())) or "uidMappings" in entry for entry in mounts):
        return []
    from crate_runc.mounts import sources as mount_sources

    return mount_sources.needs(mounts, in_general=in_general)


def _is_restricted(config: Config, facts: HostFacts) -> bool:
    return "user" in namespace_paths(config) or facts.in_user_namespace or facts.euid != 0


def _mounts(bundle: Bundle, facts: HostFacts, wanted: dict[str, str]) -> list[ChildStep]:
    """In the order of config.json; before the first that shows the container's own cgroup, the parent must have moved it there."""
    from crate_runc.mounts import options as mount_options
    from crate_runc.steps import cgroup, cgroup_mounts, mounts, namespaces

    config = bundle.config
    foreign_network = "user" in wanted and wanted.get("network") != ""
    label = config.get("linux", {}).get("mountLabel", "")
    steps: list[ChildStep] = []
    if label:
        from crate_runc.steps import rare_mounts

        steps = [rare_mounts.NeedLabels(label)]
    late: list[ChildStep] = [*cgroup.plan_setup(), *namespaces.plan_cgroup(wanted, joins_before_user(wanted, facts.euid))]
    for index, entry in enumerate(config.get("mounts", [])):
        if entry.get("type") in ("cgroup", "cgroup2"):
            steps += late
            late = []
        options = mount_options.parse(entry.get("options", []))
        if entry.get("type") == "cgroup":
            steps.append(cgroup_mounts.plan_one(entry, facts.cgroup_mode, has_namespace="cgroup" in wanted))
        elif options.remount or "copy-symlink" in options.extensions or "dest-nofollow" in options.extensions:
            from crate_runc.steps import rare_mounts

            steps.append(rare_mounts.plan_one(entry, options, mounts.source_in(bundle.path, entry.get("source", "")), index))
        else:
            steps.append(
                mounts.plan_one(
                    entry,
                    options,
                    bundle.path,
                    sysfs_of_host=foreign_network,
                    own_pids=wanted.get("pid") == "",
                    label=label,
                    index=index,
                )
            )
    return [*steps, *late]


def _devices(config: Config, facts: HostFacts) -> list[ChildStep]:
    from crate_runc.steps import devices

    return devices.plan(config, bind="user" in namespace_paths(config) or facts.in_user_namespace)


def _sysctl(config: Config) -> list[ChildStep]:
    if not config.get("linux", {}).get("sysctl"):
        return []
    from crate_runc.steps import sysctl

    return sysctl.plan(config)


def _notifies(seccomp: dict[str, Any]) -> bool:
    from crate_runc.seccomp import flags

    return flags.notifies(seccomp)


def _hooks(config: Config, kind: str) -> list[ChildStep]:
    if not config.get("hooks"):
        return []
    from crate_runc.steps import hooks

    return hooks.plan_child(config, kind)


def _launch(
    process: dict[str, Any],
    config: Config,
    facts: HostFacts,
    options: Options,
    gate: list[ChildStep],
    *,
    limits_by_parent: bool,
    keep_affinity: bool = False,
    labels: Sequence[ChildStep] = (),
) -> list[ChildStep]:
    from crate_runc.steps import launch, terminal, user

    limits: list[ChildStep] = []
    if process.get("rlimits") and not limits_by_parent:
        from crate_runc.steps import rlimits

        limits = rlimits.plan_launch(process)
    profile = config.get("linux", {}).get("seccomp")
    seccomp: list[ChildStep] = []
    if profile:
        from crate_runc.steps import seccomp as seccomp_step

        seccomp = seccomp_step.plan(config, rootless=facts.euid != 0)
    unprivileged = bool(process.get("noNewPrivileges"))
    listened = unprivileged and profile and _notifies(profile)  # while the parent is there to pass the listener on

    return [
        *terminal.plan_launch(process),
        *limits,
        *launch.plan_inherited(options.preserve_fds + options.listen_fds, keep_affinity=keep_affinity),
        *launch.plan_working_directory(process),
        *([] if unprivileged else seccomp),
        *user.plan(process, facts.last_capability),
        *launch.plan_program(process, options.listen_fds),
        *(seccomp if listened else []),
        *gate,
        *labels,
        *(seccomp if unprivileged and not listened else []),
        *launch.plan_execute(process),
    ]
