"""Which proxy a request goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY as Go's programs read them, then the settings.

Pure. The loopback network is never reached through a proxy. Automatic configuration (PAC) is not understood.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Proxies:
    """Addresses of proxies, empty for none. `exceptions` are hosts, domains, addresses and networks, as in NO_PROXY."""

    http: str = ""
    https: str = ""
    exceptions: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str], settings: Proxies | None = None) -> Proxies:
        """The environment wins over the settings, variable by variable; an empty one counts as not set."""
        settings = settings or cls()

        def variable(name: str) -> str:
            return environment.get(name.upper()) or environment.get(name.lower()) or ""

        every = variable("ALL_PROXY")
        exceptions = variable("NO_PROXY")
        return cls(
            variable("HTTP_PROXY") or every or settings.http,
            variable("HTTPS_PROXY") or every or settings.https,
            tuple(part.strip() for part in exceptions.split(",") if part.strip()) if exceptions else settings.exceptions,
        )

    def choose(self, url: str) -> str:
        """The address of the proxy for `url`, or empty: straight."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme == "https" else self.http
        host = (parts.hostname or "").rstrip(".")
        if not proxy or is_loopback(host) or self._excepted(host, parts.port or (443 if parts.scheme == "https" else 80)):
            return ""
        return proxy if "://" in proxy else f"http://{proxy}"

    def _excepted(self, host: str, port: int) -> bool:
        return any(_matches(exception.lower(), host, port) for exception in self.exceptions)


def is_loopback(host: str) -> bool:
    """Of a host without its port, IPv6 addresses without brackets. No name is looked up."""
    parts = host.split(".")
    in_network = (
        len(parts) == 4 and parts[0] == "127" and all(part.isascii() and part.isdigit() and int(part) < 256 for part in parts)
    )
    return host in ("localhost", "::1") or in_network


def _matches(exception: str, host: str, port: int) -> bool:
    if exception == "*":
        return True
    if "/" in exception:
        return _in_network(host, exception)
    name, wanted_port = _split(exception)
    if wanted_port and wanted_port != str(port):
        return False
    name = name.removeprefix("*")
    # `.example.com` means the names below it alone, `example.com` itself too.
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _split(exception: str) -> tuple[str, str]:
    if exception.startswith("["):
        name, _, tail = exception[1:].partition("]")
        return name, tail.removeprefix(":")
    name, colon, port = exception.rpartition(":")
    return (name, port) if colon and ":" not in name and port.isdigit() else (exception, "")


def _in_network(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
