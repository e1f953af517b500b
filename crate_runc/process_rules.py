"""The rules of the object `process` of config.json, and of the file that `exec --process` reads: OCI runtime-spec 1.3 config.md.

Rules that need the host (the last capability, the limits of a user) are with the steps that need them.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.shapes import (
    UINT32,
    UINT64,
    absolute,
    boolean,
    fields,
    filled,
    integer,
    list_of,
    one_of,
    quoted,
    string,
    unsupported,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.shapes import Report

RLIMITS = (
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
)
_ID = integer((0, UINT32[1] - 1))  # 2^32-1 means "no id" to the kernel


def variable(value: Any, where: str, report: Report) -> None:
    if type(value) is not str or value.find("=") < 1:
        report(BundleError(where, f"must be NAME=VALUE, not {quoted(value)}"))


def _arguments(value: Any, where: str, report: Report) -> None:
    list_of(string)(value, where, report)
    if value == []:
        report(BundleError(where, "must name a program"))


def _rlimits(value: Any, where: str, report: Report) -> None:
    _RLIMITS(value, where, report)
    seen: set[str] = set()
    for index, limit in enumerate(value if type(value) is list else ()):
        kind = limit.get("type") if type(limit) is dict else None
        if type(kind) is not str:
            continue
        if kind in seen:
            report(BundleError(f"{where}[{index}].type", f"{kind} appears twice"))
        seen.add(kind)
        if kind and type(limit.get("soft")) is type(limit.get("hard")) is int and limit["soft"] > limit["hard"]:
            report(BundleError(f"{where}[{index}].soft", f"{limit['soft']} is more than the hard limit {limit['hard']}"))


_RLIMIT = {"type": one_of(RLIMITS), "soft": integer(UINT64), "hard": integer(UINT64)}
_RLIMITS = list_of(fields(_RLIMIT, required=("type", "soft", "hard")))
_USER = {"uid": _ID, "gid": _ID, "umask": integer((0, 0o777)), "additionalGids": list_of(_ID)}
PROPERTIES = {
    "terminal": boolean,
    "consoleSize": fields({"height": integer((0, 0xFFFF)), "width": integer((0, 0xFFFF))}, required=("height", "width")),
    "user": fields(_USER),
    "args": _arguments,
    "env": list_of(variable),
    "cwd": absolute,
    "capabilities": fields(dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), list_of(filled))),
    "rlimits": _rlimits,
    "noNewPrivileges": boolean,
    "oomScoreAdj": integer((-1000, 1000)),
    "apparmorProfile": unsupported,
    "selinuxLabel": unsupported,
    "scheduler": unsupported,
    "ioPriority": unsupported,
    "execCPUAffinity": unsupported,
}
process = fields(PROPERTIES, required=("args", "cwd"))
