"""process.user: umask, groups, group and user, together with the capability sets, because their order is one (capabilities(7)).

Bounding set, keepcaps, setgroups, setresgid, setresuid, capset, ambient set; then everything is read back. The inheritable set is what
config.json names and never more (CVE-2022-24769).
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.kernel import capability, prctl
from crate_runc.kernel.calls import ANY, At, Buffer, Call, check
from crate_runc.steps.step import LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import ChildStep, LaunchContext

_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_KEEP = 0xFFFFFFFF  # of chown: an id that is not changed


def plan(process: dict[str, Any], last_capability: int) -> list[ChildStep]:
    user = process.get("user", {})
    steps: list[ChildStep] = [Umask(user["umask"])] if "umask" in user else []
    identity = BecomeUser(
        user.get("uid", 0),
        user.get("gid", 0),
        user.get("additionalGids", []),
        _masks(process.get("capabilities"), last_capability),
        last_capability,
    )
    steps += [OwnStdio(user["uid"]), identity] if user.get("uid") else [identity]
    if process.get("noNewPrivileges"):
        steps.append(NoNewPrivileges())
    return steps


def unavailable(process: dict[str, Any], last_capability: int, held: int) -> list[str]:
    """The capabilities that config.json names and nobody can give here: unknown to this program or this kernel, or not the caller's own."""
    sets = process.get("capabilities", {})
    words = {word for name in _SETS for word in sets.get(name, ())}
    known = {name for number, name in enumerate(capability.NAMES) if number <= last_capability and held >> number & 1}
    return sorted(words - known)


def _masks(sets: dict[str, list[str]] | None, last_capability: int) -> dict[str, int] | None:
    """None where config.json says nothing of capabilities: then none are left either, but in the bounding set."""
    if sets is None:
        return None
    masks = {}
    for name in _SETS:
        numbers = [capability.NUMBER_OF[word] for word in sets.get(name, []) if word in capability.NUMBER_OF]
        masks[name] = sum({1 << number for number in numbers if number <= last_capability})
    return masks


class Umask(LaunchStep):
    __slots__ = ("mask",)

    def __init__(self, mask: int) -> None:
        self.mask = mask

    def describe(self) -> str:
        return f"set umask {self.mask:04o}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return [Call("umask", self.mask)]


class OwnStdio(LaunchStep):
    """So that /dev/stdout can be opened again by a program that is not root. What is the host's own, a file or a device, is left alone."""

    __slots__ = ("uid",)

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def describe(self) -> str:
        return f"give pipes and the terminal at stdin, stdout and stderr to user {self.uid}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        """Forgiven: an owner that the user namespace does not map."""
        if launch.terminal is not None:
            return [Call("fchown", 0, self.uid, _KEEP, forgive=ANY)]  # all three are the one terminal
        return [Call("fchown", fd, self.uid, _KEEP, forgive=ANY) for fd in (0, 1, 2) if _is_pipe(fd)]


def _is_pipe(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False  # closed
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


class BecomeUser(LaunchStep):
    __slots__ = ("gid", "groups", "last_capability", "masks", "uid")

    def __init__(self, uid: int, gid: int, groups: list[int], masks: dict[str, int] | None, last_capability: int) -> None:
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.masks = masks
        self.last_capability = last_capability

    def describe(self) -> str:
        groups = f" groups {' '.join(map(str, self.groups))}" if self.groups else ""
        if self.masks is None:
            return f"become user {self.uid}:{self.gid}{groups}, without capabilities"
        sets = "; ".join(f"{name} {_words(self.masks[name])}" for name in _SETS if self.masks[name])
        return f"become user {self.uid}:{self.gid}{groups}, capabilities: {sets or 'none'}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        masks = self.masks or dict.fromkeys(_SETS, 0) | {"bounding": -1}
        dropped = ~masks["bounding"] & (2 << self.last_capability) - 1
        drop: list[Item] = [Call("prctl", prctl.CAPBSET_DROP, 0, 0, 0, 0, each=dropped)] if dropped else []
        read_back = Call("prctl", prctl.CAPBSET_READ, 0, 0, 0, 0, each=dropped, expected=0, message=_UNDONE)
        return [
            *drop,
            Call("prctl", prctl.CAP_AMBIENT, prctl.AMBIENT_CLEAR_ALL, 0, 0, 0),
            Call("prctl", prctl.SET_KEEPCAPS, 1, 0, 0, 0),
            self._set_groups(),
            Call("setresgid", self.gid, self.gid, self.gid),
            Call("setresuid", self.uid, self.uid, self.uid),
            Call("prctl", prctl.SET_KEEPCAPS, 0, 0, 0, 0),
            *self._set_capabilities(masks, launch.held_capabilities()),
            *([read_back] if dropped else []),
            *_identity("getresuid", self.uid),
            *_identity("getresgid", self.gid),
        ]

    def _set_groups(self) -> Call:
        """Always, so that none of the caller's stays; where a user namespace denies setgroups, there is nothing to set them to."""
        forgiven = () if self.groups else (errno.EPERM,)
        packed = b"".join([group.to_bytes(4, "little") for group in self.groups])
        return Call("setgroups", len(self.groups), packed, forgive=forgiven, message="set additional groups")

    def _set_capabilities(self, masks: dict[str, int], held: int) -> list[Item]:
        permitted, inheritable = masks["permitted"] & held, masks["inheritable"] & held
        sets = (masks["effective"] & permitted, permitted, inheritable)
        ambient = masks["ambient"] & permitted & inheritable
        words, found = capability.words(sets), Buffer(24)
        numbers = range(self.last_capability + 1)
        possible = permitted & inheritable  # what else the ambient set could hold: the kernel sees to that
        return [
            Call("capset", capability.HEADER, b"".join([word.to_bytes(4, "little") for word in words])),
            *[Call("prctl", prctl.CAP_AMBIENT, prctl.AMBIENT_RAISE, n, 0, 0) for n in numbers if ambient >> n & 1],
            Call("capget", capability.HEADER, found),
            *[check(At(found, 4 * at), 0xFFFFFFFF, word, message=_UNDONE) for at, word in enumerate(words)],
            *[
                Call("prctl", prctl.CAP_AMBIENT, prctl.AMBIENT_IS_SET, n, 0, 0, expected=0, message=_UNDONE)
                for n in numbers
                if possible & ~ambient >> n & 1
            ],
        ]


def _identity(name: str, wanted: int) -> list[Item]:
    """The real, effective and saved id are what they must be."""
    ids = Buffer(24)
    return [
        Call(name, ids, At(ids, 8), At(ids, 16)),
        *[check(At(ids, 8 * at), 0xFFFFFFFF, wanted, message=_UNDONE) for at in range(3)],
    ]


_UNDONE = "become the container's user"


class NoNewPrivileges(LaunchStep):
    __slots__ = ()

    def describe(self) -> str:
        return "set no_new_privs"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return [
            Call("prctl", prctl.SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            Call("prctl", prctl.GET_NO_NEW_PRIVS, 0, 0, 0, 0, expected=1),
        ]


def _words(mask: int) -> str:
    return ",".join(name.removeprefix("CAP_") for number, name in enumerate(capability.NAMES) if mask >> number & 1)
