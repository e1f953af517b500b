"""What a caller asks for, as plain values: the command line and programs fill these, `bundle/` and `engine` read them."""

from __future__ import annotations

from crate_engine.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The flags of `create` and `run`, in docker's grammar and not yet interpreted: `ports` are `8080:80/udp` texts, `volumes` `host:ctr[:ro]`.

    `environment` holds `KEY=VALUE`; a bare `KEY` takes the caller's value, if it has one. `entrypoint` replaces the image's; an empty text removes it.
    """

    image: str
    command: tuple[str, ...] = ()
    name: str | None = None
    user: str | None = None
    environment: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    workdir: str | None = None
    entrypoint: str | None = None
    hostname: str | None = None
    network: str | None = None
    """host, none or private; None: the settings decide."""
    interactive: bool = False
    tty: bool = False
    remove: bool = False
    """Remove the container when it ends."""
    platform: str | None = None
    pull: str = "missing"
    """always, missing or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecOptions:
    """The flags of `exec`."""

    command: tuple[str, ...]
    user: str | None = None
    environment: tuple[str, ...] = ()
    workdir: str | None = None
    interactive: bool = False
    tty: bool = False
    detach: bool = False
