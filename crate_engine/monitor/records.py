"""What a monitor leaves on disk for other commands: the running state, the start, and the exit status. Read by store/containers.py.

| file | written | means |
|---|---|---|
| `<run>/state.json` | at the beginning and when the process runs | who the monitor, the process and pasta are, by pid and start time |
| `<container>/start.json` | when the process runs | it was started at least once |
| `<container>/exit.json` | durably, when it ended or could not start | the exit status |
"""

from __future__ import annotations

import os
import time

from crate_engine.jsontext import dumps
from crate_engine.system import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def identity(pid: int) -> dict[str, int]:
    """A process for good, within one boot: `start_time` 0 where it is gone already."""
    return {"pid": pid, "start_time": process.start_time(pid) or 0}


def write_state(
    run: str,
    status: str,
    *,
    init: dict[str, int] | None = None,
    pasta: dict[str, int] | None = None,
    ports: object = (),
    started: int = 0,
) -> None:
    """`status` is starting or running; `started` is nanoseconds of the epoch. Atomic; need not survive a reboot."""
    state = {
        "boot_id": process.boot_id(),
        "status": status,
        "monitor": identity(os.getpid()),
        "init": init,
        "pasta": pasta,
        "ports": ports,
        "started": started,
    }
    _replace(f"{run}/state.json", state)


def write_start(container: str, started: int) -> None:
    _replace(f"{container}/start.json", {"started": started, "boot_id": process.boot_id()})


def exit_record(exit_code: int, started: int, *, error: str = "") -> dict[str, Any]:
    """The content of exit.json, in the form of schemas/crate/exit.json. `error`: why it never ran."""
    return {"exit_code": exit_code, "started": started, "finished": time.time_ns(), "error": error}


def write_exit(container: str, record: dict[str, Any]) -> None:
    from crate_engine.store import durable

    durable.write(f"{container}/exit.json", dumps(record).encode())


def _replace(path: str, value: object) -> None:
    temporary = f"{path}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, dumps(value).encode())
    finally:
        os.close(fd)
    os.rename(temporary, path)
