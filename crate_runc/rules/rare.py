"""The rules of those properties of `linux` that few containers have, loaded when one is there: OCI runtime-spec 1.3 config-linux.md.

timeOffsets, netDevices, intelRdt, memoryPolicy and personality. What only the host can tell (that a device or a file system is there) is with
the steps that apply them.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.process import number_list
from crate_runc.rules.shapes import INT64, boolean, fields, integer, list_of, map_of, member, one_of, passes, quoted, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Report

CLOCKS = ("monotonic", "boottime")
MEMORY_MODES = (
    "MPOL_DEFAULT",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_WEIGHTED_INTERLEAVE",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_LOCAL",
)
MEMORY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")
_WITHOUT_NODES = ("MPOL_DEFAULT", "MPOL_LOCAL")
_MAX_INTERFACE_NAME = 15  # bytes; IFNAMSIZ counts the NUL


def _time_offsets(value: Any, where: str, report: Report) -> None:
    map_of(_OFFSET)(value, where, report)
    for clock in value if type(value) is dict else ():
        if clock not in CLOCKS:
            report(BundleError(member(where, clock), f"unknown clock; known: {', '.join(CLOCKS)}"))


def _net_devices(value: Any, where: str, report: Report) -> None:
    map_of(fields({"name": _inner_interface}))(value, where, report)
    inner: set[str] = set()
    for name, device in value.items() if type(value) is dict else ():
        if not _is_interface_name(name) or "%" in name:
            report(BundleError(member(where, name), "not the name of a network interface"))
        if type(device) is not dict or type(device.get("name", "")) is not str:
            continue
        target = device.get("name") or name
        if target in inner and "%" not in target:
            report(BundleError(member(where, name), f"another device is called {quoted(target)} inside as well"))
        inner.add(target)


def _inner_interface(value: Any, where: str, report: Report) -> None:
    """A `%d` lets the kernel choose a number; it takes one, and no other use of `%`."""
    if value == "":
        return
    if not _is_interface_name(value) or value.count("%") > value.count("%d") or value.count("%d") > 1:
        report(BundleError(where, f"must be the name of a network interface, not {quoted(value)}"))


def _is_interface_name(value: Any) -> bool:
    """As the kernel's dev_valid_name."""
    if type(value) is not str or value in ("", ".", "..") or len(value.encode("utf-8", "replace")) > _MAX_INTERFACE_NAME:
        return False
    return not any(letter in "/:\0" or letter.isspace() for letter in value)


def _intel_rdt(value: Any, where: str, report: Report) -> None:
    fields(_INTEL_RDT)(value, where, report)
    if type(value) is not dict:
        return
    for name in ("enableCMT", "enableMBM"):
        if value.get(name):
            report(BundleError(f"{where}.{name}", "runtime-spec 1.3 took this away; use enableMonitoring"))


def _class_of_service(value: Any, where: str, report: Report) -> None:
    """A directory of the resctrl file system, or `/`, its root."""
    if type(value) is not str or value in (".", "..") or (value != "/" and ("/" in value or not value.isprintable())):
        report(BundleError(where, f'must be the name of a directory, or "/", not {quoted(value)}'))


def _line(prefix: str = "") -> Any:
    def check(value: Any, where: str, report: Report) -> None:
        if type(value) is not str or "\n" in value or "\0" in value or (value and not value.startswith(prefix)):
            report(BundleError(where, f"must be one line{f' that starts with {prefix}' if prefix else ''}, not {quoted(value)}"))

    return check


def _memory_policy(value: Any, where: str, report: Report) -> None:
    if not passes(_MEMORY_POLICY, value, where, report):
        return
    mode, nodes = value["mode"], value.get("nodes", "")
    if mode in _WITHOUT_NODES and nodes:
        report(BundleError(f"{where}.nodes", f"{mode} takes no nodes"))
    elif mode not in (*_WITHOUT_NODES, "MPOL_PREFERRED") and not nodes:
        report(BundleError(f"{where}.nodes", f"{mode} needs at least one node"))


def _no_flags(value: Any, where: str, report: Report) -> None:
    list_of(string)(value, where, report)
    if value:
        report(BundleError(where, "runtime-spec defines no flag"))


_OFFSET = fields({"secs": integer(INT64), "nanosecs": integer((0, 10**9 - 1))})
_INTEL_RDT = {
    "closID": _class_of_service,
    "l3CacheSchema": _line(),
    "memBwSchema": _line("MB:"),
    "schemata": list_of(_line()),
    "enableMonitoring": boolean,
    "enableCMT": boolean,
    "enableMBM": boolean,
}
_MEMORY_POLICY = fields(
    {"mode": one_of(MEMORY_MODES), "nodes": number_list, "flags": list_of(one_of(MEMORY_FLAGS))}, required=("mode",)
)
PROPERTIES = {
    "timeOffsets": _time_offsets,
    "netDevices": _net_devices,
    "intelRdt": _intel_rdt,
    "memoryPolicy": _memory_policy,
    "personality": fields({"domain": one_of(("LINUX", "LINUX32")), "flags": _no_flags}, required=("domain",)),
}
