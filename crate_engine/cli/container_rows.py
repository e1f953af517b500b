"""Containers as rows with the fields of docker's `ps --format`. Pure; imported where a format asks for it."""

from __future__ import annotations

import time as clock

from crate_engine.cli import listing, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from crate_engine.container import Container

HEADERS = {
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Mounts": "MOUNTS",
    "Names": "NAMES",
    "Networks": "NETWORKS",
    "Ports": "PORTS",
    "RunningFor": "CREATED",
    "State": "STATE",
    "Status": "STATUS",
}


def shown(containers: Iterable[Container], now: float, form: str, *, whole: bool) -> str:
    """Raises TemplateError."""
    return listing.shown([_row(container, now, whole=whole) for container in containers], HEADERS, (), form=form)


def _row(container: Container, now: float, *, whole: bool) -> dict[str, Any]:
    since = container.finished if container.status == "exited" else container.started
    made = render.epoch(container.created)
    age = now - render.epoch(since) if since else 0
    return {
        "Command": render.quoted_command(container.command, whole=whole),
        "CreatedAt": clock.strftime("%Y-%m-%d %H:%M:%S %z %Z", clock.localtime(made)),
        "ID": container.id if whole else render.short_id(container.id),
        "Image": container.image,
        "Mounts": ",".join(volume.split(":")[0] for volume in container.options.volumes),
        "Names": container.name,
        "Networks": container.network,
        "Ports": ", ".join(container.ports),
        "RunningFor": f"{render.age(now - made)} ago",
        "State": container.status,
        "Status": render.status(container.status, exit_code=container.exit_code, since=age),
    }
