"""What network a container gets and which host ports lead to it: docker's `-p` grammar and pasta's command line (pasta(1)). Pure."""

from __future__ import annotations

from crate_engine.errors import UsageError
from crate_engine.values import dataclass

MODES = ("private", "host", "none")
DNS_ADDRESS = "169.254.1.1"
"""Where pasta answers for the host's first name server; link-local, as podman chose it, so it hides no real server."""
_LONGEST_RANGE = 4096


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One published port. `host_ip` empty: every address. `host_port` 0: any free one, to be chosen by the engine."""

    container_port: int
    host_port: int
    protocol: str = "tcp"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """`mode` is one of MODES. Only a private network has ports."""

    mode: str
    ports: tuple[PortMapping, ...] = ()


def make(mode: str, ports: tuple[str, ...]) -> NetworkPlan:
    """Raises UsageError for an unknown mode, a port that cannot be read, and ports that the mode cannot publish."""
    if mode not in MODES:
        raise UsageError(f"network {mode}: unknown", hint=f"known are {', '.join(MODES)}")
    mappings = tuple(mapping for text in ports for mapping in parse_port(text))
    if mode == "none" and mappings:
        raise UsageError(f"publish {ports[0]}: a container without network has no ports", hint="use --network private")
    seen = set()
    for mapping in mappings:
        key = (mapping.host_ip, mapping.host_port, mapping.protocol)
        if mapping.host_port and key in seen:
            raise UsageError(f"publish {ports[0]}: host port {mapping.host_port}/{mapping.protocol} is given twice")
        seen.add(key)
    # With the host's network the container's ports are the host's: docker discards -p there, too.
    return NetworkPlan(mode, mappings if mode == "private" else ())


def parse_port(text: str) -> list[PortMapping]:
    """`[[ip:][host]:]container[/protocol]`, both ports perhaps ranges of the same length."""
    rest, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp"):
        raise _wrong(text, f"protocol {protocol!r} is not tcp or udp")
    address, host, container = _split(text, rest)
    targets = _range(text, container)
    sources = _range(text, host) if host else [0] * len(targets)
    if len(sources) != len(targets):
        raise _wrong(text, "the two ranges have different lengths")
    return [PortMapping(target, source, protocol, address) for source, target in zip(sources, targets, strict=True)]


def pasta_arguments(program: str, plan: NetworkPlan, *, netns: str, pid_file: str, as_root: bool) -> list[str]:
    """pasta(1) for a bound network namespace; every option is known to Debian 12's pasta of 2023-03."""
    arguments = [program, "--config-net", "--quiet", "--no-map-gw", "--dns-forward", DNS_ADDRESS]
    for flag, protocol in (("-t", "tcp"), ("-u", "udp")):
        specifications = [_specification(port) for port in plan.ports if port.protocol == protocol]
        for specification in specifications or ["none"]:
            arguments += [flag, specification]
    arguments += ["-T", "none", "-U", "none"]
    if as_root:
        # Started as root it would become nobody, who may not enter a network namespace that root made.
        arguments += ["--runas", "0:0"]
    return [*arguments, "--pid", pid_file, "--netns", netns]


def shown_ports(ports: tuple[PortMapping, ...]) -> tuple[str, ...]:
    """As `ps` shows them: `0.0.0.0:8080->80/tcp`."""
    return tuple(
        f"{_bracketed(port.host_ip or '0.0.0.0')}:{port.host_port}->{port.container_port}/{port.protocol}" for port in ports
    )


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _specification(port: PortMapping) -> str:
    address = f"{port.host_ip}/" if port.host_ip else ""
    return f"{address}{port.host_port}:{port.container_port}"


def _split(text: str, rest: str) -> tuple[str, str, str]:
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise _wrong(text, "an IPv6 address is written [address]:host:container")
        host, colon, container = rest[1:].rpartition(":")
        if not colon:
            raise _wrong(text, "after an address come the host's and the container's port")
    else:
        before, _, container = rest.rpartition(":")
        address, _, host = before.rpartition(":")
        if ":" in address:
            raise _wrong(text, "an IPv6 address is written [address]:host:container")
    if address:
        import ipaddress  # half as long as all of this package; few name an address

        try:
            address = str(ipaddress.ip_address(address))
        except ValueError:
            raise _wrong(text, f"{address!r} is not an IP address") from None
    return address, host, container


def _range(text: str, ports: str) -> list[int]:
    first, dash, last = ports.partition("-")
    start = _port(text, first)
    end = _port(text, last) if dash else start
    if not 0 <= end - start < _LONGEST_RANGE:
        raise _wrong(text, f"{ports!r} is not a range of at most {_LONGEST_RANGE} ports")
    return list(range(start, end + 1))


def _port(text: str, number: str) -> int:
    if not (number.isascii() and number.isdigit() and len(number) <= 5 and 1 <= int(number) <= 65535):
        raise _wrong(text, f"{number!r} is not a port from 1 to 65535")
    return int(number)


def _wrong(text: str, cause: str) -> UsageError:
    return UsageError(f"publish {text}: {cause}", hint="for example 8080:80, 127.0.0.1:8080:80/udp or 8000-8010:8000-8010")
