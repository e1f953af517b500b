"""linux.seccomp as numbers, and its checks: config-linux.md "Seccomp", seccomp(2). Pure.

What runc does beyond the text of the specification is kept: a name the library does not know is passed over (profiles name calls of kernels and
architectures that are not here), conditions that name one argument twice are alternatives, and the listener decides neither by default nor
on write(2), with which its own descriptor is announced. How a filter is installed is in flags.py.
"""

from __future__ import annotations

import errno

from crate_runc.errors import BundleError
from crate_runc.rules.shapes import fields, filled, integer, list_of, one_of, passes, string
from crate_runc.seccomp.flags import FLAGS, NOTIFY, notifies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Report

# The value for the kernel, and whether the low 16 bits take an error number.
ACTIONS = {
    "SCMP_ACT_KILL": (0x00000000, False),
    "SCMP_ACT_KILL_THREAD": (0x00000000, False),
    "SCMP_ACT_KILL_PROCESS": (0x80000000, False),
    "SCMP_ACT_TRAP": (0x00030000, False),
    "SCMP_ACT_ERRNO": (0x00050000, True),
    NOTIFY: (0x7FC00000, False),
    "SCMP_ACT_TRACE": (0x7FF00000, True),
    "SCMP_ACT_LOG": (0x7FFC0000, False),
    "SCMP_ACT_ALLOW": (0x7FFF0000, False),
}
# libseccomp's tokens, which are the kernel's AUDIT_ARCH_ numbers but for x32's.
ARCHITECTURES = {
    "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_X86_64": 0xC000003E,
    "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_ARM": 0x40000028,
    "SCMP_ARCH_AARCH64": 0xC00000B7,
    "SCMP_ARCH_MIPS": 0x00000008,
    "SCMP_ARCH_MIPS64": 0x80000008,
    "SCMP_ARCH_MIPS64N32": 0xA0000008,
    "SCMP_ARCH_MIPSEL": 0x40000008,
    "SCMP_ARCH_MIPSEL64": 0xC0000008,
    "SCMP_ARCH_MIPSEL64N32": 0xE0000008,
    "SCMP_ARCH_PPC": 0x00000014,
    "SCMP_ARCH_PPC64": 0x80000015,
    "SCMP_ARCH_PPC64LE": 0xC0000015,
    "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_S390": 0x00000016,
    "SCMP_ARCH_S390X": 0x80000016,
    "SCMP_ARCH_PARISC": 0x0000000F,
    "SCMP_ARCH_PARISC64": 0x8000000F,
    "SCMP_ARCH_LOONGARCH64": 0xC0000102,
    "SCMP_ARCH_M68K": 0x00000004,
    "SCMP_ARCH_SH": 0x4000002A,
    "SCMP_ARCH_SHEB": 0x0000002A,
}
OPERATORS = {
    "SCMP_CMP_NE": 1,
    "SCMP_CMP_LT": 2,
    "SCMP_CMP_LE": 3,
    "SCMP_CMP_EQ": 4,
    "SCMP_CMP_GE": 5,
    "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}
_UINT64 = (0, (1 << 64) - 1)
_ERRNO = integer((0, 4095))


class Profile:
    """`names`: all that the profile knows. `action` and each rule's are ready for the kernel; a rule is (names, action, lists of conditions that
    must all hold), a condition (argument, operator, value, second value)."""

    __slots__ = ("action", "architectures", "names", "rules")

    def __init__(self, action: int, architectures: list[int], rules: list[Rule], names: list[str]) -> None:
        self.action = action
        self.architectures = architectures
        self.rules = rules
        self.names = names


def parse(seccomp: dict[str, Any]) -> Profile:
    """`seccomp` has passed `check`."""
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    rules, names = [], []
    for entry in seccomp.get("syscalls", []):
        names += entry["names"]
        action = _action(entry["action"], entry.get("errnoRet"))
        if action != default:
            rules.append((entry["names"], action, _alternatives(entry.get("args", []))))
    return Profile(default, [ARCHITECTURES[name] for name in seccomp.get("architectures", [])], rules, names)


def check(value: Any, where: str, report: Report) -> None:
    """What concerns several properties only once each property for itself is right."""
    if passes(_SECCOMP, value, where, report):
        _relations(value, where, report)


def _relations(seccomp: dict[str, Any], where: str, report: Report) -> None:
    _error_number(seccomp["defaultAction"], "defaultErrnoRet", seccomp, where, report)
    if seccomp["defaultAction"] == NOTIFY:
        report(BundleError(f"{where}.defaultAction", f"{NOTIFY} cannot be used as default action"))
    for index, entry in enumerate(seccomp.get("syscalls", ())):
        _error_number(entry["action"], "errnoRet", entry, f"{where}.syscalls[{index}]", report)
        if entry["action"] == NOTIFY and "write" in entry["names"]:
            report(BundleError(f"{where}.syscalls[{index}].names", f"{NOTIFY} cannot be used for the write syscall"))
    path = seccomp.get("listenerPath")
    if notifies(seccomp) and not path:
        report(BundleError(f"{where}.listenerPath", f"is required where a system call has {NOTIFY}"))
    if seccomp.get("listenerMetadata") and not path:
        report(BundleError(f"{where}.listenerMetadata", "must not be set without listenerPath"))


def _error_number(action: str, name: str, holder: dict[str, Any], where: str, report: Report) -> None:
    if name in holder and not ACTIONS[action][1]:
        report(BundleError(f"{where}.{name}", f"{action} returns no error number"))


def _action(name: str, error: int | None) -> int:
    value, has_number = ACTIONS[name]
    return value | (errno.EPERM if error is None else error) if has_number else value


def _alternatives(args: list[dict[str, Any]]) -> list[list[Condition]]:
    conditions = [(arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)) for arg in args]
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _names(value: Any, where: str, report: Report) -> None:
    list_of(filled)(value, where, report)
    if value == []:
        report(BundleError(where, "must name at least one system call"))


_ARGUMENT = {
    "index": integer((0, 5)),
    "value": integer(_UINT64),
    "valueTwo": integer(_UINT64),
    "op": one_of(OPERATORS),
}
_RULE = {
    "names": _names,
    "action": one_of(ACTIONS),
    "errnoRet": _ERRNO,
    "args": list_of(fields(_ARGUMENT, required=("index", "value", "op"))),
}
_SECCOMP = fields(
    {
        "defaultAction": one_of(ACTIONS),
        "defaultErrnoRet": _ERRNO,
        "architectures": list_of(one_of(ARCHITECTURES)),
        "flags": list_of(one_of(FLAGS)),
        "listenerPath": string,
        "listenerMetadata": string,
        "syscalls": list_of(fields(_RULE, required=("names", "action"))),
    },
    required=("defaultAction",),
)

if TYPE_CHECKING:
    Condition = tuple[int, int, int, int]
    Rule = tuple[list[str], int, list[list[Condition]]]
