"""A new session keyring, so that the container does not hold the caller's keys (session-keyring(7)); `--no-new-keyring` keeps the old one."""

from __future__ import annotations

import errno
import os

from crate_runc.kernel.calls import Call
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import LaunchContext

_JOIN_SESSION_KEYRING = 1
# No keyrings, or the quota of keys is used up: nothing is inherited then either way that a filter of keyctl would not stop.
_FORGIVEN = (errno.ENOSYS, errno.EDQUOT, errno.ENOSPC, errno.EPERM)


def plan(container_id: str, *, wanted: bool) -> list[ChildStep]:
    return [SessionKeyring(container_id)] if wanted else []


class SessionKeyring(LaunchStep):
    __slots__ = ("container_id",)

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id

    def describe(self) -> str:
        return "join a new session keyring"

    def calls(self, launch: LaunchContext) -> list[Item]:
        name = os.fsencode(f"_ses.{self.container_id}") + b"\0"
        return [Call("keyctl", _JOIN_SESSION_KEYRING, name, forgive=_FORGIVEN)]
