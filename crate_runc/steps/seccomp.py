"""linux.seccomp: install the compiled filter (seccomp(2)), as late as its privileges allow.

With no_new_privs that is right before execve, after all else; without, it takes CAP_SYS_ADMIN and so comes before the capabilities are dropped.
A filter with a listener is installed while `create` is still there to pass the listener on.
"""

from __future__ import annotations

import errno

from crate_runc.errors import StepError
from crate_runc.kernel import prctl, seccomp
from crate_runc.seccomp import flags
from crate_runc.steps.step import ChildStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.steps.step import ChildContext, Config


def plan(config: Config, *, rootless: bool = False) -> list[ChildStep]:
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return []
    return [InstallFilterWithListener(profile, rootless=rootless) if flags.notifies(profile) else InstallFilter(profile)]


class InstallFilter(ChildStep):
    __slots__ = ("profile",)

    def __init__(self, profile: dict[str, Any]) -> None:
        self.profile = profile

    def describe(self) -> str:
        return f"install the seccomp filter: {flags.describe(self.profile)}"

    def apply(self, child: ChildContext) -> None:
        self.install(child)

    def install(self, child: ChildContext) -> int:
        wanted = flags.bits(self.profile)
        try:
            return seccomp.install(child.seccomp, wanted)
        except OSError as error:
            text = (error.strerror or "").lower()
            unknown = [name for name in flags.names_in(wanted) if not seccomp.supports(flags.FLAGS[name])]
            if error.errno == errno.EINVAL and unknown:
                text = f"the kernel does not know {', '.join(unknown)}"
            raise StepError("seccomp", error.errno or 0, f"install the seccomp filter: {text}") from None


class InstallFilterWithListener(InstallFilter):
    """Says the number of the listener's descriptor, and waits until it has been passed on: execve would close it."""

    __slots__ = ("rootless",)

    def __init__(self, profile: dict[str, Any], *, rootless: bool) -> None:
        super().__init__(profile)
        self.rootless = rootless

    def apply(self, child: ChildContext) -> None:
        if self.rootless and child.through_stub:
            # The parent has no right in the user namespace that this interpreter was started in, and takes what its own user may. Nobody else
            # is in this container yet.
            prctl.set_dumpable(True)
        number = self.install(child)
        child.channel.write(b"listener\0%d" % number)
        child.expect(b"listening")
        if self.rootless and child.through_stub:
            prctl.set_dumpable(False)
