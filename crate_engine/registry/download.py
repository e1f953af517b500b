"""A file from a web address, as `crate import` takes one: without a login, through the proxies that registries are reached through.

Redirects are followed, but not from https to plain http. Not resumed and not tried again: nothing says that it is the same file still.
"""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from crate_engine import limits
from crate_engine.errors import RegistryError, RegistryUnreachable
from crate_engine.registry.session import wire
from crate_engine.registry.transport import Broken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.registry.access import Access
    from crate_engine.registry.transport import Response, Wire

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def download(url: str, access: Access) -> Iterator[bytes]:
    """Its bytes as they arrive. Raises RegistryError, also where fewer arrive than were announced."""
    connections = wire(access)
    try:
        with _opened(connections, url) as response:
            length, count = response.header("content-length"), 0
            for piece in response.pieces():
                count += len(piece)
                yield piece
            if length.isascii() and length.isdigit() and int(length[:18]) != count:
                raise RegistryError(f"fetch {url}: the connection ended after {count} of {length[:18]} bytes")
    except Broken as broken:
        raise RegistryUnreachable(f"fetch {url}: {broken}") from broken
    finally:
        connections.close()


def _opened(connections: Wire, url: str) -> Response:
    target = url
    for _ in range(limits.REDIRECTS + 1):
        parts = urlsplit(target)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise RegistryError(f"fetch {url}: it leads to no web address")
        response = connections.send("GET", target, {})
        location = response.header("location")
        if response.status == 200:
            return response
        response.close()
        if response.status not in _REDIRECTS or not location:
            raise RegistryError(f"fetch {url}: {parts.netloc} answered with status {response.status}")
        following = urljoin(target, location)
        if parts.scheme == "https" and urlsplit(following).scheme == "http":
            raise RegistryError(f"fetch {url}: it is redirected from https to plain http")
        target = following
    raise RegistryError(f"fetch {url}: there are more than {limits.REDIRECTS} redirects")
