"""A new session keyring, so that the container does not hold the caller's keys (session-keyring(7)); `--no-new-keyring` keeps the old one."""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError
from crate_runc.kernel.calls import ANY, Buffer, Call, Label, Value
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item
    from crate_runc.steps.step import ChildContext, LaunchContext

_JOIN_SESSION_KEYRING, _SET_PERMISSIONS = 1, 5
_SEARCHABLE = 0x3F1B0000  # as the kernel makes it, and its owner may search it: so exec finds it by its name, and makes no other
_FORGIVEN = (errno.ENOSYS, errno.EPERM)  # no keyrings, or a filter that the container inherits: no key is in reach
_USED_UP = (errno.EDQUOT, errno.ENOSPC)


def plan(container_id: str, *, wanted: bool) -> list[ChildStep]:
    return [SessionKeyring(container_id)] if wanted else []


class SessionKeyring(LaunchStep):
    __slots__ = ("container_id",)

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id

    def describe(self) -> str:
        return "join a new session keyring"

    def apply(self, child: ChildContext) -> None:
        """The quota of a user is 200 keys, and each container has one. With none left a container starts all the same, and gets no keys at all:
        the caller's keyring, which it then has, must be out of its reach."""
        try:
            super().apply(child)
        except StepError as error:
            if error.errno not in _USED_UP:
                raise
            from crate_runc.kernel import libc, seccomp
            from crate_runc.seccomp import without_keys

            seccomp.install(without_keys.program(libc.MACHINE), 0)

    def calls(self, launch: LaunchContext) -> list[Item]:
        name = os.fsencode(f"_ses.{self.container_id}") + b"\0"
        serial, none = Buffer(), Label()
        return [
            Call("keyctl", _JOIN_SESSION_KEYRING, name, store=serial, forgive=_FORGIVEN, otherwise=none),
            Call("keyctl", _SET_PERMISSIONS, Value(serial), _SEARCHABLE, forgive=ANY),
            none,
        ]
