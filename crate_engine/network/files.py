"""The contents of a container's hosts(5), resolv.conf(5) and hostname files. Texts in, texts out, but for what the host itself says."""

from __future__ import annotations

import socket

from crate_engine.errors import UsageError
from crate_engine.network.plan import DNS_ADDRESS

_RESOLV_CONF = "/etc/resolv.conf"
_LIMIT = 64 << 10


def check_hostname(name: str) -> str:
    """Raises UsageError: a host name ends up as a line in files."""
    allowed = all(character.isascii() and (character.isalnum() or character in "-._") for character in name)
    if not name or len(name) > 64 or not allowed or name[0] in "-." or name[-1] in "-.":
        raise UsageError(f"host name {name[:80]!r}: must be letters, digits, '-', '.' and '_', at most 64")
    return name


def hosts(hostname: str, address: str | None) -> str:
    """`address` is the container's own; without one its name leads to its loopback, as Debian has it."""
    return (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
        f"{address or '127.0.1.1'}\t{hostname}\n"
    )


def resolv_conf(host: str, mode: str, servers: tuple[str, ...] = ()) -> str:
    """From the host's file: search and options stay. `servers`, when given, replace its name servers.

    In a private network the host's loopback is not reachable, so servers on it are replaced by the address that pasta forwards.
    """
    kept, found = [], list(servers)
    for line in host.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] != "nameserver":
            kept.append(" ".join(words))
        elif not servers and len(words) > 1:
            found.append(words[1])
    if mode == "private" and not servers:
        found = [server for server in found if not _is_loopback(server)] or [DNS_ADDRESS]
    return "".join(f"{line}\n" for line in [*kept, *(f"nameserver {server}" for server in found)])


def host_resolv_conf() -> str:
    try:
        with open(_RESOLV_CONF, encoding="utf-8", errors="replace") as file:
            return file.read(_LIMIT)
    except OSError:
        return ""


def outgoing_address() -> str | None:
    """The address this host uses towards others, which pasta gives to the container too. Sends nothing: connect(2) of UDP only routes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as endpoint:
        try:
            endpoint.connect(("198.51.100.1", 9))
        except OSError:
            return None
        address: str = endpoint.getsockname()[0]
        return address


def _is_loopback(server: str) -> bool:
    return server.startswith("127.") or server in ("::1", "localhost")
