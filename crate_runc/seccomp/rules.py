"""linux.seccomp as numbers, and its checks: config-linux.md "Seccomp", seccomp(2). Pure.

SCMP_ACT_NOTIFY and a listener are not supported. What runc does beyond the text of the specification is kept: a name the library does not know is
passed over, and conditions that name one argument twice are alternatives.
"""

from __future__ import annotations

import errno

from crate_runc.errors import Unsupported
from crate_runc.shapes import fields, filled, integer, list_of, one_of, string, unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.shapes import Report

# The value for the kernel, and whether the low 16 bits take an error number.
ACTIONS = {
    "SCMP_ACT_KILL": (0x00000000, False),
    "SCMP_ACT_KILL_THREAD": (0x00000000, False),
    "SCMP_ACT_KILL_PROCESS": (0x80000000, False),
    "SCMP_ACT_TRAP": (0x00030000, False),
    "SCMP_ACT_ERRNO": (0x00050000, True),
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
# Flags of seccomp(2); with a single thread TSYNC says nothing.
FLAGS = {"SECCOMP_FILTER_FLAG_TSYNC": 0, "SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4}
_UINT64 = (0, (1 << 64) - 1)
_ERRNO = integer((0, 4095))


class Profile:
    """`action` and each rule's are ready for the kernel; a rule is (names, action, lists of conditions that must all hold), a condition
    (argument, operator, value, second value)."""

    __slots__ = ("action", "architectures", "rules")

    def __init__(self, action: int, architectures: list[int], rules: list[Rule]) -> None:
        self.action = action
        self.architectures = architectures
        self.rules = rules


def parse(seccomp: dict[str, Any]) -> Profile:
    """`seccomp` has passed `check`."""
    default = _action(seccomp["defaultAction"], seccomp.get("defaultErrnoRet"))
    rules = []
    for entry in seccomp.get("syscalls", []):
        action = _action(entry["action"], entry.get("errnoRet"))
        if action != default:
            rules.append((entry["names"], action, _alternatives(entry.get("args", []))))
    return Profile(default, [ARCHITECTURES[name] for name in seccomp.get("architectures", [])], rules)


def flags(seccomp: dict[str, Any]) -> int:
    return sum({FLAGS[name] for name in seccomp.get("flags", [])})


def describe(seccomp: dict[str, Any]) -> str:
    names = {name for entry in seccomp.get("syscalls", []) for name in entry["names"]}
    return f"{seccomp['defaultAction']} but for {len(names)} system calls"


def check(value: Any, where: str, report: Report) -> None:
    _SECCOMP(value, where, report)


def _action(name: str, error: int | None) -> int:
    value, has_number = ACTIONS[name]
    return value | (errno.EPERM if error is None else error) if has_number else value


def _alternatives(args: list[dict[str, Any]]) -> list[list[Condition]]:
    conditions = [(arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)) for arg in args]
    if len({condition[0] for condition in conditions}) < len(conditions):
        return [[condition] for condition in conditions]
    return [conditions]


def _known_action(value: Any, where: str, report: Report) -> None:
    if value == "SCMP_ACT_NOTIFY":
        report(Unsupported(where, "a listener that decides on system calls is not supported yet"))
    else:
        one_of(ACTIONS)(value, where, report)


def _known_flag(value: Any, where: str, report: Report) -> None:
    if value == "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV":
        report(Unsupported(where, "this flag is for a listener, which is not supported yet"))
    else:
        one_of(FLAGS)(value, where, report)


_ARGUMENT = {
    "index": integer((0, 5)),
    "value": integer(_UINT64),
    "valueTwo": integer(_UINT64),
    "op": one_of(OPERATORS),
}
_RULE = {
    "names": list_of(filled),
    "action": _known_action,
    "errnoRet": _ERRNO,
    "args": list_of(fields(_ARGUMENT, required=("index", "value", "op"))),
}
_SECCOMP = fields(
    {
        "defaultAction": _known_action,
        "defaultErrnoRet": _ERRNO,
        "architectures": list_of(one_of(ARCHITECTURES)),
        "flags": list_of(_known_flag),
        "listenerPath": unsupported,
        "listenerMetadata": string,
        "syscalls": list_of(fields(_RULE, required=("names", "action"))),
    },
    required=("defaultAction",),
)

if TYPE_CHECKING:
    Condition = tuple[int, int, int, int]
    Rule = tuple[list[str], int, list[list[Condition]]]
