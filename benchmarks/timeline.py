"""When what happens in one run of a low-level runtime, seen from outside: the few system calls with which its phases begin, by strace's clock.

strace stops processes at these calls alone (--seccomp-bpf), so the whole takes some milliseconds longer than by itself, not many times as long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

CALLS = "execve,execveat,clone,clone3,fork,vfork,unshare,mkdir,mkdirat,pivot_root,exit_group"
START = "own program"
FORK = "first process forked"
STATE = "state directory"
NAMESPACES = "namespaces made"
ROOT = "root switched"
STUB = "stub executed"
PROGRAM = "container's program"
PROGRAM_END = "program ends"
END = "runtime ends"

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (\w+)\((.*)")


def command(strace: str, report: str) -> list[str]:
    return [strace, "--seccomp-bpf", "-f", "-ttt", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", report]


def marks(report: str, root: str, program: str) -> dict[str, float]:
    """Milliseconds from the first call to each mark that is there. `root` is the runtime's --root, `program` the container's."""
    calls = [_Call(*match.groups()) for line in report.splitlines() if (match := _LINE.match(line))]
    begun = calls[0].at
    found: dict[str, float] = {}
    for mark, at in _marked(calls, root, program):
        if mark not in found or mark in (START, END):
            found[mark] = (at - begun) * 1000
    return dict(sorted(found.items(), key=lambda item: item[1]))


class _Call:
    __slots__ = ("at", "name", "pid", "rest")

    def __init__(self, pid: str, at: str, name: str, rest: str) -> None:
        self.pid, self.at, self.name, self.rest = int(pid), float(at), name, rest


def _marked(calls: list[_Call], root: str, program: str) -> Iterator[tuple[str, float]]:
    runtime, contained, forked = calls[0].pid, 0, False
    for call in calls:
        if call.name in ("execve", "execveat"):
            if call.rest.startswith(f'"{program}"'):
                contained = call.pid
                yield PROGRAM, call.at
            elif call.pid != runtime:
                yield STUB, call.at
            elif not forked:
                yield START, call.at
        elif call.name in ("clone", "clone3", "fork", "vfork"):
            if "CLONE_THREAD" not in call.rest:
                forked = True
                yield FORK, call.at
        elif call.name.startswith("mkdir"):
            if f'"{root}/' in call.rest:
                yield STATE, call.at
        elif call.name == "unshare":
            if "CLONE_NEWNS" in call.rest:
                yield NAMESPACES, call.at
        elif call.name == "pivot_root":
            yield ROOT, call.at
        else:
            yield (PROGRAM_END if call.pid == contained else END), call.at
