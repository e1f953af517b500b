"""events: figures of a container as lines of JSON, at an interval, and a line for each time it is out of memory (runc's command line).

cgroup v1 tells of it through an eventfd (the kernel's cgroup-v1 memory document, "OOM Control"), v2 by a change of memory.events, which wakes poll(2).
The command ends with the container's first process.
"""

from __future__ import annotations

import os
import select
import time

from crate_runc import host, strict_json
from crate_runc.cgroup import files, statistics
from crate_runc.errors import CgroupError, RuncError, StateError, UsageError, reason
from crate_runc.host import UNIFIED
from crate_runc.kernel import pidfd
from crate_runc.state import store as state_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.state.record import ContainerState
    from crate_runc.state.store import StateStore

_NO_MEMORY = "watch the memory of the container: it has no memory cgroup"
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def run(store: StateStore, container_id: str, *, interval: float, once: bool) -> None:
    """Print events until the container ends; `once` the figures alone. `interval` is in seconds. Raises StateError where it does not run."""
    with store.open(container_id, lock=False) as entry:
        state = entry.load()
        if entry.status(state) in ("stopped", "creating"):
            raise StateError(f"container with id {container_id} is not running")
    mode = host.probe().cgroup_mode
    if once:
        _print_figures(state, mode)
    else:
        _watch(state, mode, interval)


def _print_figures(state: ContainerState, mode: str) -> None:
    figures = statistics.read(state.cgroup_paths, mode)
    rdt = state.config.get("linux", {}).get("intelRdt")
    if rdt is not None:
        from crate_runc import resctrl_class

        figures["intel_rdt"] = resctrl_class.figures(rdt, state.id, resctrl_class.mounted_at())
    _print({"type": "stats", "id": state.id, "data": figures})


def _print(event: dict[str, Any]) -> None:
    line = strict_json.dumps(event) + b"\n"
    try:
        while line:
            line = line[os.write(1, line) :]
    except BrokenPipeError:
        raise SystemExit(0) from None  # who listened has gone


def _watch(state: ContainerState, mode: str, interval: float) -> None:
    try:
        process = pidfd.open_process(state.pid)
    except ProcessLookupError:
        raise StateError(f"container with id {state.id} is not running") from None
    alarm = _AlarmV2(state.cgroup_paths) if mode == "v2" else _AlarmV1(state.cgroup_paths)
    try:
        _loop(state, mode, interval, process, alarm)
    finally:
        alarm.close()
        os.close(process)


def _loop(state: ContainerState, mode: str, interval: float, process: int, alarm: Alarm) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(alarm.fd, alarm.mask)
    due = time.monotonic() + interval
    while state_store.is_alive(state):
        ready = {fd for fd, _ in poll.poll(max(0, int((due - time.monotonic()) * 1000) + 1))}
        if alarm.fd in ready and alarm.rang():
            _print({"type": "oom", "id": state.id})
        if process in ready:
            break
        if time.monotonic() >= due:
            due += interval
            _print_figures(state, mode)
    if alarm.rang():
        _print({"type": "oom", "id": state.id})


class Alarm:
    """`fd` becomes ready, as `mask` asks of poll(2), when the container may be out of memory; `rang` says whether it was since the last time."""

    __slots__ = ("fd", "mask")

    def __init__(self, fd: int, mask: int) -> None:
        self.fd = fd
        self.mask = mask

    def rang(self) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        os.close(self.fd)


class _AlarmV1(Alarm):
    """The eventfd also becomes ready when the cgroup is removed, which is no alarm."""

    __slots__ = ("_directory",)

    def __init__(self, paths: dict[str, str]) -> None:
        if "memory" not in paths:
            raise CgroupError(_NO_MEMORY)
        self._directory = paths["memory"]
        super().__init__(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), select.POLLIN)
        try:
            control = os.open(f"{self._directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                files.write(self._directory, "cgroup.event_control", f"{self.fd} {control}")
            finally:
                os.close(control)
        except OSError as error:
            self.close()
            raise CgroupError(f"watch the memory of cgroup {self._directory}: {reason(error)}") from None

    def rang(self) -> bool:
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return os.path.isdir(self._directory)


class _AlarmV2(Alarm):
    __slots__ = ("_kills",)

    def __init__(self, paths: dict[str, str]) -> None:
        if UNIFIED not in paths:
            raise CgroupError(_NO_MEMORY)
        try:
            super().__init__(os.open(f"{paths[UNIFIED]}/memory.events", os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI)
        except FileNotFoundError:
            raise CgroupError(
                f"watch the memory of cgroup {paths[UNIFIED]}: the controller memory is not handed down to it"
            ) from None
        except OSError as error:
            raise CgroupError(f"watch the memory of cgroup {paths[UNIFIED]}: {reason(error)}") from None
        self._kills = 0
        self._kills = self._count()

    def _count(self) -> int:
        """Reading is also what makes the file ready for the next poll."""
        try:
            return statistics.pairs(os.pread(self.fd, 4096, 0).decode()).get("oom_kill", 0)
        except OSError:
            return self._kills  # the cgroup is gone

    def rang(self) -> bool:
        before, self._kills = self._kills, self._count()
        return self._kills > before


def seconds_of(text: str) -> float:
    """A duration as Go programs write it: `5s`, `100ms`, `1m30s`. Raises UsageError."""
    total, number, unit = 0.0, "", ""
    for letter in f"{text};":
        if unit and not letter.isalpha():
            total += _part(text, number, unit)
            number = unit = ""
        if letter.isalpha():
            unit += letter
        else:
            number += letter
    if number != ";" or text in ("", ";"):
        raise _no_duration(text)
    if total <= 0:
        raise RuncError("duration interval must be greater than 0")
    return total


def _part(text: str, number: str, unit: str) -> float:
    try:
        return float(number) * _UNITS[unit]
    except (KeyError, ValueError):
        raise _no_duration(text) from None


def _no_duration(text: str) -> UsageError:
    return UsageError(f'invalid value "{text}" for flag -interval: parse error: a duration is written like 5s, 100ms or 1m30s')
