"""linux.netDevices: interfaces of a network namespace that the test made go into the container; the machine's own are not touched."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host
from tests.support.programs import Result, eventually
from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


class Network:
    """A network namespace, held by a process that waits; runtimes run in it."""

    def __init__(self, pid: int, runtime: OciRuntime) -> None:
        self.pid = pid
        self.runtime = runtime

    def enter(self, *command: str, of: int | None = None) -> list[str]:
        return ["nsenter", f"--net=/proc/{of or self.pid}/ns/net", *command]

    def ip(self, *words: str, of: int | None = None) -> str:
        return subprocess.run(self.enter("ip", *words, of=of), check=True, capture_output=True, text=True).stdout

    def call(self, *words: str, status: int | None = 0) -> Result:
        return self.runtime.account.run(self.enter(*self.runtime.command(*words)), status=status)

    def output(self, bundle: Bundle) -> str:
        return self.call("run", "--bundle", str(bundle.write()), self.runtime.identity()).out

    def fails(self, bundle: Bundle) -> str:
        result = self.call("run", "--bundle", str(bundle.write()), self.runtime.identity(), status=None)
        assert result.status != 0
        return result.err

    def names(self, of: int | None = None) -> set[str]:
        return {link["ifname"] for link in json.loads(self.ip("-j", "link", of=of))}

    def addresses(self, name: str, of: int | None = None) -> set[str]:
        found = json.loads(self.ip("-j", "address", "show", "dev", name, of=of))[0]["addr_info"]
        return {f"{address['local']}/{address['prefixlen']}" for address in found if address["scope"] != "link"}


def holder(*flags: str) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["unshare", *flags, "sleep", "1000"], stdin=subprocess.DEVNULL)
    eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", "unshare has started the program")
    return process


@pytest.fixture
def network(runtime: OciRuntime) -> Iterator[Network]:
    """It has the two ends of a cable, `left` and `right`."""
    runtime.needs_spec(3)
    host.program("ip", "iproute2")
    process = holder("--net")
    try:
        made = Network(process.pid, runtime)
        made.ip("link", "add", "name", "left", "type", "veth", "peer", "name", "right")
        yield made
    finally:
        process.kill()
        process.wait()


def show(name: str) -> tuple[str, ...]:
    return ("ip", "address", "show", "dev", name)


def with_devices(bundle: Bundle, **devices: Any) -> Bundle:
    bundle.linux["netDevices"] = devices
    return bundle


def test_a_device_is_moved_and_brought_up(network: Network, bundle: Bundle) -> None:
    text = network.output(with_devices(bundle, left={}).runs(*show("left")))
    assert "UP" in text.split(">")[0]


def test_a_device_gets_another_name(network: Network, bundle: Bundle) -> None:
    assert "inside0@" in network.output(with_devices(bundle, left={"name": "inside0"}).runs(*show("inside0")))


def test_a_template_gets_a_number(network: Network, bundle: Bundle) -> None:
    with_devices(bundle, left={"name": "eth%d"}, right={"name": "eth%d"})
    text = network.output(bundle.runs("ip", "-o", "link"))
    assert {line.split(":")[1].strip().split("@")[0] for line in text.splitlines()} == {"lo", "eth0", "eth1"}


def test_what_is_set_on_the_device_stays(network: Network, bundle: Bundle) -> None:
    network.ip("link", "set", "left", "mtu", "1400", "address", "02:11:22:33:44:55")
    text = network.output(with_devices(bundle, left={}).runs(*show("left")))
    assert "mtu 1400" in text and "02:11:22:33:44:55" in text


@pytest.mark.parametrize("state", ["up", "down"])
def test_lasting_addresses_of_global_scope_go_along(network: Network, bundle: Bundle, state: str) -> None:
    network.ip("link", "set", "left", state)
    network.ip("address", "add", "169.254.169.77/32", "dev", "left")
    network.ip("address", "add", "fd00::5/64", "dev", "left", "nodad")
    text = network.output(with_devices(bundle, left={"name": "x"}).runs(*show("x")))
    assert "169.254.169.77/32" in text and "fd00::5/64" in text


def test_other_addresses_stay_behind(network: Network, bundle: Bundle) -> None:
    network.ip("address", "add", "10.1.2.3/24", "dev", "left", "scope", "link")
    network.ip("address", "add", "10.1.3.3/24", "dev", "left", "scope", "host")
    network.ip("address", "add", "10.1.4.3/24", "dev", "left", "valid_lft", "1000", "preferred_lft", "1000")
    assert "10.1." not in network.output(with_devices(bundle, left={}).runs(*show("left")))


def test_a_device_goes_to_a_network_namespace_that_is_joined_and_stays_there(network: Network, bundle: Bundle) -> None:
    joined = holder("--net")
    try:
        network.ip("address", "add", "10.9.9.9/24", "dev", "left")
        with_devices(bundle.namespace("network", f"/proc/{joined.pid}/ns/net"), left={"name": "x"})
        network.output(bundle.runs("true"))
        assert network.names(of=joined.pid) == {"lo", "x"}
        assert network.addresses("x", of=joined.pid) == {"10.9.9.9/24"}
        assert network.names() == {"lo", "right"}
    finally:
        joined.kill()
        joined.wait()


def test_the_runtime_does_not_fetch_it_back(network: Network, bundle: Bundle) -> None:
    """With the namespace the kernel destroys a virtual device, and its other end."""
    network.output(with_devices(bundle, left={}).runs("true"))
    eventually(lambda: network.names() == {"lo"}, "the kernel has destroyed both ends")


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({"left": {}, "missing": {}}, "missing"),
        ({"left": {"name": "lo"}}, "lo"),
        ({"left": {}, "right": {"name": "lo"}}, "lo"),
    ],
    ids=["missing", "taken", "second taken"],
)
def test_what_cannot_be_moved_is_an_error_and_nothing_is_moved(
    network: Network, bundle: Bundle, devices: dict[str, Any], words: str
) -> None:
    network.ip("address", "add", "10.9.9.9/24", "dev", "left")
    assert words in network.fails(with_devices(bundle, **devices).runs("true"))
    if network.runtime.name == "crate-runc":
        assert network.names() == {"lo", "left", "right"}
        assert network.addresses("left") == {"10.9.9.9/24"}


def test_the_hosts_loopback_stays(network: Network, bundle: Bundle) -> None:
    network.fails(with_devices(bundle, lo={"name": "x"}).runs("true"))
    assert network.names() == {"lo", "left", "right"}


@pytest.mark.parametrize("names", [{"a/b": {}}, {"left": {"name": "x y"}}, {"left": {"name": "sixteen-letters-"}}, {"": {}}])
def test_what_is_no_name_is_refused(network: Network, bundle: Bundle, names: dict[str, Any]) -> None:
    network.fails(with_devices(bundle, **names).runs("true"))
    assert network.names() == {"lo", "left", "right"}


def test_a_container_in_the_hosts_network_is_refused(network: Network, bundle: Bundle) -> None:
    network.fails(with_devices(bundle.without_namespace("network"), left={"name": "x"}).runs("true"))
    assert network.names() == {"lo", "left", "right"}


def test_a_container_that_joins_the_hosts_network_is_refused(network: Network, bundle: Bundle) -> None:
    with_devices(bundle.namespace("network", f"/proc/{network.pid}/ns/net"), left={"name": "x"})
    if network.runtime.name != "crate-runc":
        pytest.skip("needs a runtime that does not rename the host's own devices")
    assert "the container is in the host's network" in network.fails(bundle.runs("true"))
    assert network.names() == {"lo", "left", "right"}


def test_an_ordinary_user_is_refused(rootless_runtime: OciRuntime, rootless_bundle: Bundle) -> None:
    rootless_runtime.needs_spec(3)
    rootless_bundle.namespace("network")
    result = rootless_runtime.fails(
        "run", "--bundle", str(with_devices(rootless_bundle, left={}).runs("true").write()), rootless_runtime.identity()
    )
    assert "network devices are not supported for rootless containers" in result.err
