"""Host ports before a container starts: a free one where any will do, and an early, clear error where one is taken (bind(2))."""

from __future__ import annotations

import errno
import socket

from crate_engine.errors import NetworkError, PortInUse
from crate_engine.network.plan import NetworkPlan, PortMapping
from crate_engine.values import replace

_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def settle(plan: NetworkPlan) -> NetworkPlan:
    """Choose host ports where the plan leaves them open, and check that all can be bound; they are free again on return.

    Raises PortInUse, or NetworkError where binding is not permitted. What pasta binds a moment later may still fail: that is checked there.
    """
    if not plan.ports:
        return plan
    held: list[socket.socket] = []
    try:
        return replace(plan, ports=tuple(_settle_one(port, held) for port in plan.ports))
    finally:
        for endpoint in held:
            endpoint.close()


def _settle_one(port: PortMapping, held: list[socket.socket]) -> PortMapping:
    for family, address in _addresses(port.host_ip):
        endpoint = socket.socket(family, _KINDS[port.protocol])
        held.append(endpoint)
        if port.protocol == "tcp":
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections in TIME_WAIT are no obstacle
        if family == socket.AF_INET6:
            endpoint.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            endpoint.bind((address, port.host_port))
            if port.protocol == "tcp":
                endpoint.listen(1)
        except OSError as error:
            _refuse(port, address, error)
        if not port.host_port:
            port = replace(port, host_port=endpoint.getsockname()[1])
    return port


def _addresses(host_ip: str) -> list[tuple[socket.AddressFamily, str]]:
    if not host_ip:
        both = [(socket.AF_INET, "0.0.0.0")]
        return [*both, (socket.AF_INET6, "::")] if _has_ipv6() else both
    return [(socket.AF_INET6 if ":" in host_ip else socket.AF_INET, host_ip)]


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as endpoint:
            endpoint.bind(("::1", 0))
    except OSError:
        return False
    return True


def _refuse(port: PortMapping, address: str, error: OSError) -> None:
    what = f"publish {address}:{port.host_port}/{port.protocol}"
    if error.errno == errno.EADDRINUSE:
        raise PortInUse(
            f"{what}: the port is in use", hint="choose another host port, or stop what uses it (ss -lntup shows it)"
        ) from error
    if error.errno in (errno.EACCES, errno.EPERM):
        raise NetworkError(
            f"{what}: permission denied",
            hint=f"ports below 1024 need root, or: sysctl -w net.ipv4.ip_unprivileged_port_start={port.host_port}",
        ) from error
    raise NetworkError(f"{what}: {error.strerror}") from error
