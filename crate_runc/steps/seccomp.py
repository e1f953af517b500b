"""linux.seccomp: install the compiled filter (seccomp(2)), as late as its privileges allow.

With no_new_privs that is right before execve, after all else; without, it takes CAP_SYS_ADMIN and so comes before the capabilities are dropped.
"""

from __future__ import annotations

import struct

from crate_runc.errors import StepError
from crate_runc.kernel.libc import address_of, syscall
from crate_runc.seccomp import rules
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.steps.step import ChildContext, Config

_SET_MODE_FILTER = 1


def plan(config: Config) -> list[ChildStep]:
    seccomp = config.get("linux", {}).get("seccomp")
    return [InstallFilter(rules.describe(seccomp), rules.flags(seccomp))] if seccomp else []


class InstallFilter(ChildStep):
    __slots__ = ("flags", "text")

    def __init__(self, text: str, flags: int) -> None:
        self.text = text
        self.flags = flags

    def describe(self) -> str:
        return f"install the seccomp filter: {self.text}"

    def apply(self, child: ChildContext) -> None:
        """struct sock_fprog: the number of instructions, six bytes of padding, their address."""
        program = bytearray(child.seccomp)
        header = struct.pack("=H6xQ", len(program) // 8, address_of(program))
        try:
            syscall("seccomp", _SET_MODE_FILTER, self.flags, header)
        except OSError as error:
            raise StepError(
                "seccomp", error.errno or 0, f"install the seccomp filter: {(error.strerror or '').lower()}"
            ) from None
