"""Whom a connection trusts, host by host: the system's authorities and certs.d (containers-certs.d(5), docker's form of it too).

What is said of one host holds for no other: not its client certificate, not that it goes unverified, wherever a redirect leads.
"""

from __future__ import annotations

import os
import threading
from functools import partial

from crate_engine.errors import SettingsError
from crate_engine.registry.proxies import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

_NAMES = {"registry-1.docker.io": "docker.io"}
"""Registries that are called otherwise than the host they are on."""


class Trust:
    """For the length of one command, used by several threads."""

    def __init__(
        self, insecure: Iterable[str] = (), *, tls_verify: bool | None = None, directories: Iterable[str] | None = None
    ) -> None:
        """`insecure` are hosts with their ports. `tls_verify` is the flag: False for every host, True for none, None as configured."""
        self._insecure = frozenset(insecure)
        self._tls_verify = tls_verify
        self._directories = tuple(directories) if directories is not None else _directories()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()

    def verified(self, host: str) -> bool:
        """Whether the certificate of `host`, with its port, is checked; otherwise plain http may be spoken to it, too.

        Docker's rule: on the loopback network it is not, unless certs.d has an authority for it.
        """
        if self._tls_verify is not None:
            return self._tls_verify
        if host in self._insecure or _NAMES.get(host) in self._insecure:
            return False
        return not is_loopback(host_name(host)) or any(name.endswith(".crt") for _, name in self._files(host))

    def context(self, host: str) -> ssl.SSLContext:
        """For connections to this host. Raises SettingsError where a file of certs.d cannot be used."""
        with self._lock:
            if host not in self._contexts:
                self._contexts[host] = self._make(host)
            return self._contexts[host]

    def _make(self, host: str) -> ssl.SSLContext:
        import ssl

        context = _unverified() if not self.verified(host) else _verified()
        for directory, name in self._files(host):
            path = f"{directory}/{name}"
            try:
                if name.endswith(".crt"):
                    context.load_verify_locations(path)
                elif name.endswith(".cert"):
                    key = path.removesuffix(".cert") + ".key"
                    if not os.path.exists(key):
                        raise SettingsError(f"use client certificate {path}: its key {key} is missing")
                    context.load_cert_chain(path, key, password=partial(_no_password, key))
            except (ssl.SSLError, OSError) as error:
                raise SettingsError(f"use certificate {path}: {error.strerror or error}") from error
        return context

    def _files(self, host: str) -> list[tuple[str, str]]:
        """(directory, name) of the first directory for this host; later ones are not looked at."""
        for directory in self._directories:
            for name in (host, _NAMES.get(host)):
                if name is None or "/" in name or name in (".", ".."):
                    continue
                try:
                    return [(f"{directory}/{name}", entry) for entry in sorted(os.listdir(f"{directory}/{name}"))]
                except (FileNotFoundError, NotADirectoryError, PermissionError):
                    continue
                except OSError as error:
                    raise SettingsError(f"read certificates {directory}/{name}: {error.strerror}") from error
        return []


def host_name(host: str) -> str:
    """Without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _directories() -> tuple[str, ...]:
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    return (f"{home}/containers/certs.d", "/etc/containers/certs.d", "/etc/docker/certs.d")


def _unverified() -> ssl.SSLContext:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _verified() -> ssl.SSLContext:
    """With the system's authorities (OpenSSL honours SSL_CERT_FILE and SSL_CERT_DIR), or those that the variables of requests and curl name."""
    import ssl

    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if not named:
        paths = ssl.get_default_verify_paths()
        if paths.cafile is None and paths.capath is None:
            import certifi  # a host without authorities of its own: those that come with requests

            named = certifi.where()
    try:
        if named and os.path.isdir(named):
            return ssl.create_default_context(capath=named)
        return ssl.create_default_context(cafile=named or None)
    except (ssl.SSLError, OSError) as error:
        raise SettingsError(f"use certificates {named}: {error.strerror or error}") from error


def _no_password(key: str) -> str:
    raise SettingsError(f"use client key {key}: it has a password", hint="keep it without one, readable for its owner alone")
