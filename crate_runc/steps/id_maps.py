"""linux.uidMappings and gidMappings: written by the parent while the child waits in its new user namespace (user_namespaces(7)).

Directly, as root or where an ordinary user maps nothing but himself; by newuidmap(1) and newgidmap(1), which check /etc/subuid, else.
"""

from __future__ import annotations

import os

from crate_runc.errors import StepError
from crate_runc.kernel import spawn
from crate_runc.steps.step import ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.host import HostFacts
    from crate_runc.steps.step import Config, ParentContext

_FIXED_DIRECTORIES = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin")


def plan(config: Config, facts: HostFacts) -> list[ParentStep]:
    linux = config.get("linux", {})
    users, groups = _lines(linux.get("uidMappings", [])), _lines(linux.get("gidMappings", []))
    if not users and not groups:
        return []
    if facts.euid == 0:
        return [WriteMaps(users, groups, deny_setgroups=False)]
    if _only(users, facts.euid) and _only(groups, facts.egid):
        return [WriteMaps(users, groups, deny_setgroups=True)]
    return [MapByProgram(users, groups)]


def _lines(mappings: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    return [(entry["containerID"], entry["hostID"], entry["size"]) for entry in mappings]


def _only(lines: list[tuple[int, int, int]], own_id: int) -> bool:
    return len(lines) == 1 and lines[0][1:] == (own_id, 1)


def _text(lines: list[tuple[int, int, int]]) -> str:
    return ", ".join(f"{inside}→{outside}×{count}" for inside, outside, count in lines)


class _Maps(ParentStep):
    __slots__ = ("groups", "users")

    def __init__(self, users: list[tuple[int, int, int]], groups: list[tuple[int, int, int]]) -> None:
        self.users = users
        self.groups = groups


class WriteMaps(_Maps):
    __slots__ = ("deny_setgroups",)

    def __init__(self, users: list[tuple[int, int, int]], groups: list[tuple[int, int, int]], *, deny_setgroups: bool) -> None:
        super().__init__(users, groups)
        self.deny_setgroups = deny_setgroups

    def describe(self) -> str:
        denied = "; deny setgroups" if self.deny_setgroups else ""
        return f"write the id maps: users {_text(self.users)}; groups {_text(self.groups)}{denied}"

    def apply(self, parent: ParentContext) -> None:
        if self.deny_setgroups:  # else a process could drop the group that a file denies access to (CVE-2014-8989)
            _write(parent.pid, "setgroups", "deny")
        _write(parent.pid, "gid_map", _file(self.groups))
        _write(parent.pid, "uid_map", _file(self.users))


class MapByProgram(_Maps):
    __slots__ = ()

    def describe(self) -> str:
        return f"run newuidmap and newgidmap: users {_text(self.users)}; groups {_text(self.groups)}"

    def apply(self, parent: ParentContext) -> None:
        _run("newgidmap", parent.pid, self.groups)
        _run("newuidmap", parent.pid, self.users)


def _file(lines: list[tuple[int, int, int]]) -> str:
    return "".join(f"{inside} {outside} {count}\n" for inside, outside, count in lines)


def _write(pid: int, name: str, text: str) -> None:
    fd = os.open(f"/proc/{pid}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _run(program: str, pid: int, lines: list[tuple[int, int, int]]) -> None:
    path = _find(program)
    arguments = [program, str(pid), *(str(number) for line in lines for number in line)]
    status, output = spawn.run(path, arguments, {"PATH": ":".join(_FIXED_DIRECTORIES)}, b"", timeout=20)
    if status != 0:
        text = output.decode("utf-8", "replace").strip()
        raise StepError(
            "write the id maps", 0, f"{program} failed: {text or f'status {status}'}; see /etc/subuid and /etc/subgid"
        )


def _find(program: str) -> str:
    """Callers may run us with no PATH at all."""
    for directory in [*os.environ.get("PATH", "").split(":"), *_FIXED_DIRECTORIES]:
        path = f"{directory}/{program}"
        if directory.startswith("/") and os.access(path, os.X_OK):
            return path
    raise StepError("write the id maps", 2, f"find {program}: not installed; the Debian package is uidmap")
