"""A container as callers see it: one frozen value, made anew from its record and its condition each time it is asked for."""

from __future__ import annotations

import time

from crate_engine.network.plan import NetworkPlan, PortMapping, shown_ports
from crate_engine.options import RunOptions
from crate_engine.store.containers import Condition, Record
from crate_engine.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Times are RFC 3339 texts, empty where the thing has not happened. `exit_code` is None while it is unknown: not ended yet, or its
    monitor was killed. `pid` is 0 unless it runs. `image` is the familiar name it was made from, `image_id` the hexadecimal digest."""

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created: str
    status: str
    """created, starting, running, stopping or exited."""
    exit_code: int | None
    error: str
    """Why it could not start, or nothing."""
    pid: int
    started: str
    finished: str
    ports: tuple[str, ...]
    """As docker shows them: `0.0.0.0:8080->80/tcp`; none unless it runs."""
    network: str
    options: RunOptions

    @property
    def running(self) -> bool:
        return self.status == "running"


def plan_of(record: Record) -> NetworkPlan:
    return NetworkPlan(record.network, tuple(PortMapping(*port) for port in record.ports))


def view(record: Record, condition: Condition) -> Container:
    return Container(
        id=record.id,
        name=record.name,
        image=record.image,
        image_id=record.image_id,
        command=record.command,
        created=timestamp(record.created),
        status=condition.status,
        exit_code=condition.exit_code,
        error=condition.error,
        pid=condition.pid,
        started=timestamp(condition.started),
        finished=timestamp(condition.finished),
        ports=shown_ports(condition.ports) if condition.status == "running" else (),
        network=record.network,
        options=record.options,
    )


def timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with nine digits, as docker writes times; an empty text for 0."""
    if not nanoseconds:
        return ""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
