"""linux.seccomp: install the compiled filter (seccomp(2)), as late as its privileges allow.

With no_new_privs that is right before execve, after all else; without, it takes CAP_SYS_ADMIN and so comes before the capabilities are dropped.
A filter with a listener is installed while `create` is still there to pass the listener on.
"""

from __future__ import annotations

import errno

from crate_runc.kernel import perform, prctl, seccomp
from crate_runc.kernel.calls import Buffer, Call, CallError
from crate_runc.seccomp import flags
from crate_runc.steps.step import ChildStep, LaunchStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.errors import StepError
    from crate_runc.kernel.calls import Argument, Item
    from crate_runc.steps.step import ChildContext, Config, LaunchContext

_SET_MODE_FILTER, _INSTRUCTION = 1, 8


def plan(config: Config, *, rootless: bool = False) -> list[ChildStep]:
    profile = config.get("linux", {}).get("seccomp")
    if not profile:
        return []
    return [InstallFilterWithListener(profile, rootless=rootless) if flags.notifies(profile) else InstallFilter(profile)]


class InstallFilter(LaunchStep):
    __slots__ = ("profile",)

    def __init__(self, profile: dict[str, Any]) -> None:
        self.profile = profile

    def describe(self) -> str:
        return f"install the seccomp filter: {flags.describe(self.profile)}"

    def calls(self, launch: LaunchContext) -> list[Item]:
        return [self.install(launch, None)]

    def install(self, launch: LaunchContext, listener: Buffer | None) -> Call:
        """struct sock_fprog: the number of instructions, six bytes of padding, their address."""
        filters: list[Argument] = [len(launch.seccomp) // _INSTRUCTION, launch.seccomp]
        wanted = flags.bits(self.profile)
        return Call("seccomp", _SET_MODE_FILTER, wanted, filters, store=listener, message="install the seccomp filter")

    def failure(self, error: CallError) -> StepError:
        wanted = flags.bits(self.profile)
        unknown = [name for name in flags.names_in(wanted) if not seccomp.supports(flags.FLAGS[name])]
        if error.errno == errno.EINVAL and unknown:
            error.call.reason = f"the kernel does not know {', '.join(unknown)}"
        return super().failure(error)


class InstallFilterWithListener(InstallFilter):
    """Says the number of the listener's descriptor, and waits until it has been passed on: execve would close it."""

    __slots__ = ("rootless",)

    def __init__(self, profile: dict[str, Any], *, rootless: bool) -> None:
        super().__init__(profile)
        self.rootless = rootless

    def calls(self, launch: LaunchContext) -> list[Item]:
        """rootless: the parent has no right in the user namespace in which this process was started, and takes what its own user may."""
        listener = Buffer()
        items: list[Item] = [self.install(launch, listener), *launch.send_listener(listener)]
        if self.rootless:
            return [Call("prctl", prctl.SET_DUMPABLE, 1), *items, Call("prctl", prctl.SET_DUMPABLE, 0)]
        return items

    def apply(self, child: ChildContext) -> None:
        listener = Buffer()
        if self.rootless and child.through_stub:
            prctl.set_dumpable(True)  # nobody else is in this container yet
        try:
            perform.perform([self.install(child, listener)])
        except CallError as error:
            raise self.failure(error) from None
        child.channel.write(b"listener\0%d" % int.from_bytes(listener.content, "little"))
        child.expect(b"listening")
        if self.rootless and child.through_stub:
            prctl.set_dumpable(False)
