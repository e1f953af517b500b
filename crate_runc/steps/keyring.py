"""A new session keyring, so that the container does not hold the caller's keys (session-keyring(7)); `--no-new-keyring` keeps the old one."""

from __future__ import annotations

from crate_runc.kernel import keyring
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext


def plan(container_id: str, *, wanted: bool) -> list[ChildStep]:
    return [SessionKeyring(container_id)] if wanted else []


class SessionKeyring(ChildStep):
    __slots__ = ("container_id",)

    def __init__(self, container_id: str) -> None:
        self.container_id = container_id

    def describe(self) -> str:
        return "join a new session keyring"

    def apply(self, child: ChildContext) -> None:
        keyring.join_new_session(f"_ses.{self.container_id}")
