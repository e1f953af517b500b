"""How registries are to be reached, as flags and settings say it: one value that goes from the command line to the connections."""

from __future__ import annotations

from crate_engine.registry.proxies import Proxies
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.settings import Settings


@dataclass(frozen=True, slots=True)
class Access:
    """`insecure` are registries with their ports. `tls_verify`: True and False are the flag's, for every host; None as configured.

    `authfile` is the only file of logins to be read; None: those of docker and podman, in their order. `proxies` are the settings', over
    which the environment wins.
    """

    insecure: tuple[str, ...] = ()
    tls_verify: bool | None = None
    authfile: str | None = None
    proxies: Proxies = Proxies()

    @classmethod
    def of(cls, settings: Settings, *, authfile: str | None = None, tls_verify: bool | None = None) -> Access:
        proxies = Proxies(settings.http_proxy or "", settings.https_proxy or "", settings.no_proxy)
        return cls(settings.insecure_registries, tls_verify, authfile, proxies)
