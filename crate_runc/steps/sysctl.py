"""linux.sysctl: written through the host's procfs before the root switch; the kernel applies them to the caller's namespaces.

config.py has refused every key that is not of a namespace of the container's own.
"""

from __future__ import annotations

import os

from crate_runc.errors import StepError
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config


def plan(config: Config) -> list[ChildStep]:
    return [Sysctl(key, value) for key, value in config.get("linux", {}).get("sysctl", {}).items()]


class Sysctl(ChildStep):
    __slots__ = ("key", "value")

    def __init__(self, key: str, value: str) -> None:
        self.key = key
        self.value = value

    def describe(self) -> str:
        return f"set sysctl {self.key} = {self.value}"

    def apply(self, child: ChildContext) -> None:
        try:
            fd = os.open(f"/proc/sys/{file_of(self.key)}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, self.value.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise StepError("sysctl", error.errno or 0, f"set sysctl {self.key}: {(error.strerror or '').lower()}") from None


def file_of(key: str) -> str:
    """`net.ipv4.ip_forward` and `net/ipv4/ip_forward` alike; in the second form a dot belongs to a name (`net/ipv4/conf/eth0.1/…`)."""
    dot, slash = key.find("."), key.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key
    return "/".join(part.replace("/", ".") for part in key.split("."))
