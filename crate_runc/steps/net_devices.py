"""linux.netDevices: network interfaces of the host that go into the container (runtime-spec 1.3, config-linux.md "Network Devices").

The parent moves them while init waits, all or, where it can tell in time, none. Their lasting addresses go along and they are brought up.
They are never fetched back: with the network namespace the kernel returns physical devices and destroys virtual ones.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import BundleError, StepError
from crate_runc.kernel.netlink import Rtnetlink, open_in
from crate_runc.rules.shapes import member
from crate_runc.steps.step import ParentStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.host import HostFacts
    from crate_runc.steps.step import Config, ParentContext


def plan(config: Config, facts: HostFacts) -> list[ParentStep]:
    """Raises BundleError for an ordinary user, whom the kernel would refuse anyway."""
    devices = config.get("linux", {}).get("netDevices", {})
    if devices and facts.euid != 0:
        raise BundleError("linux.netDevices", "network devices are not supported for rootless containers")
    return [MoveDevices([(name, device.get("name") or name) for name, device in devices.items()])] if devices else []


class MoveDevices(ParentStep):
    __slots__ = ("names",)

    def __init__(self, names: list[tuple[str, str]]) -> None:
        """(name on the host, name in the container) of each."""
        self.names = names

    def describe(self) -> str:
        texts = [name if name == inner else f"{name} as {inner}" for name, inner in self.names]
        return f"move network devices into the container: {', '.join(texts)}"

    def apply(self, parent: ParentContext) -> None:
        namespace = os.open(f"/proc/{parent.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        host = Rtnetlink()
        inside = None
        try:
            if os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net")):
                raise StepError("network devices", errno.EINVAL, "move network devices: the container is in the host's network")
            inside = open_in(namespace)
            indexes = self._find(host, inside)
            for index, (name, inner) in zip(indexes, self.names, strict=True):
                _move(host, inside, index, namespace, name, inner)
        finally:
            host.close()
            if inside:
                inside.close()
            os.close(namespace)

    def _find(self, host: Rtnetlink, inside: Rtnetlink) -> list[int]:
        """Before the first is moved: each is there, and its name is free in the container."""
        indexes, taken = [], set(inside.links().values())
        for name, inner in self.names:
            try:
                indexes.append(host.index_of(name))
            except OSError as error:
                raise _error(name, "find", error) from None
            if inner in taken:
                text = f"move network device {name}: there is a device {inner} in the container already"
                raise StepError("network devices", errno.EEXIST, f"{member('linux.netDevices', name)}: {text}")
        return indexes


def _move(host: Rtnetlink, inside: Rtnetlink, index: int, namespace: int, name: str, inner: str) -> None:
    """The index may be another there, and the kernel chooses the name for a template: the device is the one that is new."""
    addresses = [address for address in host.addresses(index) if address.is_lasting()]
    before = inside.links()
    try:
        host.move(index, namespace, inner)
    except OSError as error:
        raise _error(name, "move", error) from None
    arrived = next((number for number in inside.links() if number not in before), None)
    if arrived is None:
        raise StepError("network devices", errno.ENODEV, f"move network device {name}: it did not arrive in the container")
    try:
        for address in addresses:
            inside.add_address(arrived, address)
        inside.bring_up(arrived)
    except OSError as error:
        raise _error(name, "set up", error) from None


def _error(name: str, action: str, error: OSError) -> StepError:
    text = (error.strerror or "").lower()
    return StepError(
        "network devices", error.errno or 0, f"{member('linux.netDevices', name)}: {action} network device {name}: {text}"
    )
