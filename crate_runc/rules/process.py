"""The rules of the object `process` of config.json, and of the file that `exec --process` reads: OCI runtime-spec 1.3 config.md.

Rules that need the host (the last capability, the limits of a user) are with the steps that need them.
"""

from __future__ import annotations

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import (
    INT32,
    UINT32,
    UINT64,
    absolute,
    boolean,
    fields,
    filled,
    integer,
    list_of,
    one_of,
    passes,
    quoted,
    string,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Report

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
SCHEDULERS = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")
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


def _capabilities(value: Any, where: str, report: Report) -> None:
    """Words that no kernel knows are for the runtime to ignore with a warning ("Process", capabilities); this one the kernel refuses with EPERM."""
    if not passes(_CAPABILITIES, value, where, report):
        return
    permitted = value.get("permitted", ())
    for index, word in enumerate(value.get("effective", ())):
        if word not in permitted:
            report(BundleError(f"{where}.effective[{index}]", f"{word} is not in {where}.permitted"))


def _scheduler(value: Any, where: str, report: Report) -> None:
    """What sched_setattr(2) would refuse with EINVAL alone, or, what is worse, ignore."""
    if not passes(_SCHEDULER, value, where, report):
        return
    policy = value["policy"]
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= value.get("nice", 0) <= 19:
        report(BundleError(f"{where}.nice", f"must be from -20 to 19 for {policy}, not {value['nice']}"))
    if policy not in ("SCHED_FIFO", "SCHED_RR") and value.get("priority"):
        report(BundleError(f"{where}.priority", f"is for SCHED_FIFO and SCHED_RR alone, not for {policy}"))
    for name in ("runtime", "deadline", "period"):
        if policy != "SCHED_DEADLINE" and value.get(name):
            report(BundleError(f"{where}.{name}", f"is for SCHED_DEADLINE alone, not for {policy}"))


def number_list(value: Any, where: str, report: Report) -> None:
    """A list of processors or of memory nodes; an empty one asks for nothing."""
    from crate_runc.rules.number_list import numbers_of

    try:
        numbers_of(value)
    except (ValueError, AttributeError):
        report(BundleError(where, f"must be a list like 0-3,7, not {quoted(value)}"))


def label(value: Any, where: str, report: Report) -> None:
    """Written to a file of /proc, where it is one line."""
    if type(value) is not str or any(letter < " " for letter in value):
        report(BundleError(where, f"must be a string without control characters, not {quoted(value)}"))


_SCHEDULER = fields(
    {
        "policy": one_of(SCHEDULERS),
        "nice": integer(INT32),
        "priority": integer(INT32),
        "flags": list_of(one_of(SCHEDULER_FLAGS)),
        "runtime": integer(UINT64),
        "deadline": integer(UINT64),
        "period": integer(UINT64),
    },
    required=("policy",),
)
_CAPABILITIES = fields(dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), list_of(filled)))
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
    "capabilities": _capabilities,
    "rlimits": _rlimits,
    "noNewPrivileges": boolean,
    "oomScoreAdj": integer((-1000, 1000)),
    "apparmorProfile": label,
    "selinuxLabel": label,
    "scheduler": _scheduler,
    "ioPriority": fields({"class": one_of(IO_CLASSES), "priority": integer((0, 7))}, required=("class",)),
    "execCPUAffinity": fields({"initial": number_list, "final": number_list}),
}
process = fields(PROPERTIES, required=("args", "cwd"))
