"""hostname and domainname, in the container's own UTS namespace (runtime-spec, config.md "Hostname", "Domainname")."""

from __future__ import annotations

from crate_runc.kernel import namespaces
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config


def plan(config: Config) -> list[ChildStep]:
    steps: list[ChildStep] = []
    if config.get("hostname"):
        steps.append(Hostname(config["hostname"]))
    if config.get("domainname"):
        steps.append(Domainname(config["domainname"]))
    return steps


class Hostname(ChildStep):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> str:
        return f"set the host name {self.name}"

    def apply(self, child: ChildContext) -> None:
        namespaces.set_hostname(self.name)


class Domainname(ChildStep):
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> str:
        return f"set the domain name {self.name}"

    def apply(self, child: ChildContext) -> None:
        namespaces.set_domainname(self.name)
