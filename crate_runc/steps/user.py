"""process.user: umask, groups, group and user, together with the capability sets, because their order is one (capabilities(7)).

Bounding set, keepcaps, setgroups, setresgid, setresuid, capset, ambient set; then everything is read back. The inheritable set is what
config.json names and never more (CVE-2022-24769).
"""

from __future__ import annotations

import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import capability, prctl, terminal
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext

_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_NULL = (1, 3)


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


def _masks(sets: dict[str, list[str]] | None, last_capability: int) -> dict[str, int] | None:
    """None where config.json says nothing of capabilities: then none are left either, but in the bounding set."""
    if sets is None:
        return None
    masks = {}
    for name in _SETS:
        numbers = [capability.NUMBER_OF[word] for word in sets.get(name, []) if word in capability.NUMBER_OF]
        masks[name] = sum({1 << number for number in numbers if number <= last_capability})
    return masks


class Umask(ChildStep):
    __slots__ = ("mask",)

    def __init__(self, mask: int) -> None:
        self.mask = mask

    def describe(self) -> str:
        return f"set umask {self.mask:04o}"

    def apply(self, child: ChildContext) -> None:
        os.umask(self.mask)


class OwnStdio(ChildStep):
    """So that /dev/stdout can be opened again by a program that is not root. What is the host's own, a file or a device, is left alone."""

    __slots__ = ("uid",)

    def __init__(self, uid: int) -> None:
        self.uid = uid

    def describe(self) -> str:
        return f"give pipes and the terminal at stdin, stdout and stderr to user {self.uid}"

    def apply(self, child: ChildContext) -> None:
        for fd in (0, 1, 2):
            try:
                status = os.fstat(fd)
                ours = stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode)
                if status.st_uid != self.uid and (ours or (child.terminal >= 0 and terminal.is_slave(fd))):
                    os.fchown(fd, self.uid, status.st_gid)
            except OSError:
                continue  # closed, or of an owner that the user namespace does not map


class BecomeUser(ChildStep):
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

    def apply(self, child: ChildContext) -> None:
        masks = self.masks or dict.fromkeys(_SETS, 0) | {"bounding": -1}
        for number in range(self.last_capability + 1):
            if not masks["bounding"] >> number & 1:
                prctl.drop_bounding(number)
        prctl.clear_ambient()
        prctl.set_keep_capabilities(True)
        self._set_groups()
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        prctl.set_keep_capabilities(False)
        self._set_capabilities(masks)

    def _set_groups(self) -> None:
        """Always, so that none of the caller's stays; where a user namespace denies setgroups, there is nothing to set them to."""
        try:
            os.setgroups(self.groups)
        except PermissionError:
            if self.groups:
                raise StepError("user", 1, "set additional groups: operation not permitted in this user namespace") from None

    def _set_capabilities(self, masks: dict[str, int]) -> None:
        _, held, _ = capability.get()
        sets = {name: masks[name] & held for name in ("effective", "permitted", "inheritable")}
        sets["effective"] &= sets["permitted"]
        capability.set_all(effective=sets["effective"], permitted=sets["permitted"], inheritable=sets["inheritable"])
        ambient = masks["ambient"] & sets["permitted"] & sets["inheritable"]
        for number in range(ambient.bit_length()):
            if ambient >> number & 1:
                prctl.raise_ambient(number)
        self._verify(masks["bounding"], (sets["effective"], sets["permitted"], sets["inheritable"]), ambient)

    def _verify(self, bounding: int, sets: tuple[int, int, int], ambient: int) -> None:
        numbers = range(self.last_capability + 1)
        right = (
            capability.get() == sets
            and not any(prctl.is_bounding(number) for number in numbers if not bounding >> number & 1)
            and not any(prctl.is_ambient(number) for number in numbers if not ambient >> number & 1)
            and os.getresuid() == (self.uid,) * 3
            and os.getresgid() == (self.gid,) * 3
        )
        if not right:
            raise StepError("user", 0, "become the container's user: the kernel did not do what was asked")


class NoNewPrivileges(ChildStep):
    __slots__ = ()

    def describe(self) -> str:
        return "set no_new_privs"

    def apply(self, child: ChildContext) -> None:
        prctl.set_no_new_privileges()
        if not prctl.has_no_new_privileges():
            raise StepError("user", 0, "set no_new_privs: the kernel did not do what was asked")


def _words(mask: int) -> str:
    return ",".join(name.removeprefix("CAP_") for number, name in enumerate(capability.NAMES) if mask >> number & 1)
