"""The rules of what few containers ask for in `linux.resources`: blockIO, hugepageLimits, network, rdma, unified (OCI runtime-spec 1.3
config-linux.md). Loaded by rules/resources where one of them is there; as there, only the form is checked here."""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import UINT32, UINT64, fields, integer, list_of, map_of, member, quoted, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Check, Report

_UINT16 = (0, (1 << 16) - 1)
_MIN_WEIGHT, _MAX_WEIGHT = 10, 1000
# Of the files of cgroup v2 itself those that limit; with the others a configuration would move, freeze or kill processes.
_CORE_FILES = ("cgroup.max.depth", "cgroup.max.descendants", "cgroup.pressure")
_NAME_BYTES = 15
_PAGE_UNITS = ("KB", "MB", "GB")


def _weight(value: Any, where: str, report: Report) -> None:
    """0 stands for none, as callers write it."""
    integer(_UINT16)(value, where, report)
    if type(value) is int and 0 < value <= _UINT16[1] and not _MIN_WEIGHT <= value <= _MAX_WEIGHT:
        report(BundleError(where, f"must be from {_MIN_WEIGHT} to {_MAX_WEIGHT}, not {value}"))


def _weight_devices(value: Any, where: str, report: Report) -> None:
    list_of(fields({**_DEVICE, "weight": _weight, "leafWeight": _weight}, required=("major", "minor")))(value, where, report)
    for index, entry in enumerate(value if type(value) is list else ()):
        if type(entry) is dict and "weight" not in entry and "leafWeight" not in entry:
            report(BundleError(f"{where}[{index}]", "must have a weight or a leafWeight"))


def _page_size(value: Any, where: str, report: Report) -> None:
    """It becomes part of a file name."""
    digits = value[:-2] if type(value) is str else ""
    if not (digits.isascii() and digits.isdigit() and digits[0] != "0" and value[-2:] in _PAGE_UNITS):
        report(BundleError(where, f"must be the size of a huge page, like 2MB, not {quoted(value)}"))


def _word(value: Any, where: str, report: Report) -> None:
    """One word of a line for the kernel."""
    if type(value) is not str or not value or value.split() != [value]:
        report(BundleError(where, f"must be a name without spaces, not {quoted(value)}"))


def _interface(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or value.split() != [value] or "/" in value or len(value) > _NAME_BYTES or value in (".", ".."):
        report(BundleError(where, f"must be the name of a network interface, not {quoted(value)}"))


def _rdma(value: Any, where: str, report: Report) -> None:
    map_of(fields({"hcaHandles": integer(UINT32), "hcaObjects": integer(UINT32)}))(value, where, report)
    for name, limit in value.items() if type(value) is dict else ():
        _word(name, member(where, name), report)
        if type(limit) is dict and "hcaHandles" not in limit and "hcaObjects" not in limit:
            report(BundleError(member(where, name), "must have hcaHandles or hcaObjects"))


def _unified(value: Any, where: str, report: Report) -> None:
    """The names become file names in the container's cgroup."""
    map_of(string)(value, where, report)
    for name in value if type(value) is dict else ():
        if "/" in name or "." not in name or name.startswith(".") or (name.startswith("cgroup.") and name not in _CORE_FILES):
            report(BundleError(where, f"{quoted(name)} is not a file of a cgroup controller"))


_DEVICE: dict[str, Check] = {"major": integer(UINT32), "minor": integer(UINT32)}
_RATES = list_of(fields({**_DEVICE, "rate": integer(UINT64)}, required=("major", "minor", "rate")))
_BLOCK_IO: dict[str, Check] = {
    "weight": _weight,
    "leafWeight": _weight,
    "weightDevice": _weight_devices,
    "throttleReadBpsDevice": _RATES,
    "throttleWriteBpsDevice": _RATES,
    "throttleReadIOPSDevice": _RATES,
    "throttleWriteIOPSDevice": _RATES,
}
_PRIORITY: dict[str, Check] = {"name": _interface, "priority": integer(UINT32)}
PROPERTIES: dict[str, Check] = {
    "unified": _unified,
    "blockIO": fields(_BLOCK_IO),
    "hugepageLimits": list_of(fields({"pageSize": _page_size, "limit": integer(UINT64)}, required=("pageSize", "limit"))),
    "network": fields({"classID": integer(UINT32), "priorities": list_of(fields(_PRIORITY, required=("name", "priority")))}),
    "rdma": _rdma,
}
