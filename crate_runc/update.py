"""update: change the limits of a container that runs (runc's command line; runtime-spec does not know it).

Only what is given changes. The state keeps it, so that a later update knows which period belongs to a new quota, and how much memory a
limit of memory and swap together leaves to swap. When a limit cannot be set those before it are set back.
"""

from __future__ import annotations

from crate_runc import cgroup, host
from crate_runc.errors import RuncError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.state.store import StateStore

    Resources = dict[str, Any]

# list of a section: what tells its entries apart
_KEYS = {
    "weightDevice": ("major", "minor"),
    "throttleReadBpsDevice": ("major", "minor"),
    "throttleWriteBpsDevice": ("major", "minor"),
    "throttleReadIOPSDevice": ("major", "minor"),
    "throttleWriteIOPSDevice": ("major", "minor"),
    "priorities": ("name",),
    "hugepageLimits": ("pageSize",),
}
_ZERO_MEANS_NOTHING = ("memory", "cpu", "blockIO", "network")
_ZERO_MEANS_ZERO = ("idle", "burst", "swappiness")


def update(store: StateStore, container_id: str, given: Resources, flags: Resources | None = None) -> None:
    """`given` has passed the rules; `flags` are those of the command line, for Intel RDT, which is no part of the resources. Raises StateError
    where the container does not run, BundleError for what this host's mode cannot express, CgroupError for what the kernel refuses; then nothing
    is changed."""
    given = said(given)
    with store.open(container_id) as entry:
        state = entry.load()
        if entry.status(state) in ("stopped", "creating"):
            raise StateError("container not running")
        config = state.config
        rdt = _changed_rdt(config, flags or {})
        before = config.get("linux", {}).get("resources", {})
        limits = completed(before, given)
        after = merged(before, limits)
        group = cgroup.from_state(state, host.probe())
        group.check_use(limits.get("memory", {}))
        changes_devices = after.get("devices") != before.get("devices")
        if rdt:
            _write_rdt(rdt, container_id)
        if changes_devices:
            group.change_devices(before, after)
        try:
            group.update(limits)
        except RuncError:
            if changes_devices:
                group.change_devices(after, before)
            if rdt:
                _write_rdt(config["linux"]["intelRdt"], container_id)
            raise
        config["linux"] = {**config.get("linux", {}), "resources": after, **({"intelRdt": rdt} if rdt else {})}
        entry.save(state)


def _write_rdt(wanted: Resources, container_id: str) -> None:
    from crate_runc import resctrl_class

    resctrl_class.write(wanted, container_id, resctrl_class.mounted_at())


def _changed_rdt(config: Resources, flags: Resources) -> Resources | None:
    if not (flags.get("l3-cache-schema") or flags.get("mem-bw-schema")):
        return None
    from crate_runc import resctrl_class

    return resctrl_class.changed(config, flags)


def said(given: Resources) -> Resources:
    """Without what asks for nothing: callers send 0 and "" for what they do not mean to change."""
    return {
        section: {name: item for name, item in value.items() if item or item is False or name in _ZERO_MEANS_ZERO}
        if section in _ZERO_MEANS_NOTHING
        else value
        for section, value in given.items()
    }


def merged(before: Resources, given: Resources) -> Resources:
    """What is in force afterwards."""
    after = dict(before)
    for name, value in given.items():
        old = before.get(name)
        if name in _KEYS and old:
            after[name] = _merged_list(old, value, _KEYS[name])
        elif type(value) is dict and type(old) is dict:
            after[name] = merged(old, value)
        else:
            after[name] = value
    return after


def _merged_list(before: list[Resources], given: list[Resources], keys: tuple[str, ...]) -> list[Resources]:
    entries = {tuple(entry.get(key) for key in keys): entry for entry in before}
    for entry in given:
        identity = tuple(entry.get(key) for key in keys)
        entries[identity] = {**entries.get(identity, {}), **entry}
    return list(entries.values())


def completed(before: Resources, given: Resources) -> Resources:
    """`given` with what the kernel wants to be told together with it."""
    limits = dict(given)
    memory, cpu = dict(given.get("memory", {})), dict(given.get("cpu", {}))
    if memory.get("limit") == -1:
        memory.setdefault("swap", -1)
    elif "limit" in memory:
        _take(memory, before.get("memory", {}), "swap")
    elif "swap" in memory:
        _take(memory, before.get("memory", {}), "limit")
    if "quota" in cpu or "period" in cpu:
        _take(cpu, before.get("cpu", {}), "quota")
        _take(cpu, before.get("cpu", {}), "period")
    if memory:
        limits["memory"] = memory
    if cpu:
        limits["cpu"] = cpu
    return limits


def _take(values: Resources, before: Resources, name: str) -> None:
    if name not in values and before.get(name):
        values[name] = before[name]
