"""The rules of `linux.resources`: OCI runtime-spec 1.3 config-linux.md, sections on control groups.

Only the form is checked here: what a cgroup mode cannot express is refused by cgroup/resources.py, which knows the mode.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import (
    INT64,
    UINT32,
    UINT64,
    boolean,
    fields,
    integer,
    list_of,
    one_of,
    quoted,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Check, Report


def _access(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or set(value) - set("rwm"):
        report(BundleError(where, f'must be made of the letters "r", "w" and "m", not {quoted(value)}'))


def _devices(value: Any, where: str, report: Report) -> None:
    _DEVICES(value, where, report)
    for index, rule in enumerate(value if type(value) is list else ()):
        if type(rule) is dict and rule.get("allow") is True and not rule.get("access"):
            report(BundleError(f"{where}[{index}].access", "is required where something is allowed"))


def _special(name: str, empty: Any) -> Check:
    """The rules of a property that few ask for are loaded where it is there. Docker writes an empty `blockIO` for everyone."""

    def check(value: Any, where: str, report: Report) -> None:
        if value != empty:
            from crate_runc.rules import special_resources as special_resource_rules

            special_resource_rules.PROPERTIES[name](value, where, report)

    return check


def _cpu_list(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or set(value) - set("0123456789,- "):
        report(BundleError(where, f"must be a list like 0-3,7, not {quoted(value)}"))


_NUMBER = integer((-1, UINT32[1]))
_DEVICE = {"allow": boolean, "type": one_of(("a", "b", "c")), "major": _NUMBER, "minor": _NUMBER, "access": _access}
_DEVICES = list_of(fields(_DEVICE, required=("allow",)))
_LIMIT = integer((-1, INT64[1]))
_MEMORY = {
    "limit": _LIMIT,
    "reservation": _LIMIT,
    "swap": _LIMIT,
    "kernel": _LIMIT,
    "kernelTCP": _LIMIT,
    "swappiness": integer((0, 100)),
    "disableOOMKiller": boolean,
    "useHierarchy": boolean,
    "checkBeforeUpdate": boolean,
}
_CPU = {
    "shares": integer(UINT64),
    "quota": integer(INT64),
    "burst": integer(UINT64),
    "period": integer(UINT64),
    "realtimeRuntime": integer(INT64),
    "realtimePeriod": integer(UINT64),
    "cpus": _cpu_list,
    "mems": _cpu_list,
    "idle": integer((0, 1)),
}
PROPERTIES = {
    "unified": _special("unified", {}),
    "devices": _devices,
    "memory": fields(_MEMORY),
    "cpu": fields(_CPU),
    "pids": fields({"limit": integer(INT64)}),
    "blockIO": _special("blockIO", {}),
    "hugepageLimits": _special("hugepageLimits", []),
    "network": _special("network", {}),
    "rdma": _special("rdma", {}),
}
resources = fields(PROPERTIES)
