"""Files and directories of cgroupfs (cgroups(7)), the same for v1 and v2: write a value, list and signal processes, remove a tree."""

from __future__ import annotations

import errno
import os
import time

from crate_runc.errors import CgroupError, reason
from crate_runc.kernel import pidfd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from crate_runc.cgroup.resources import Write

_REMOVE_SECONDS = 5.0
_POLL_SECONDS = 0.005
_CHUNK = 1 << 14  # bytes


def read(directory: str, file: str) -> str:
    fd = os.open(f"{directory}/{file}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        raw = b""
        while part := os.read(fd, _CHUNK):
            raw += part
    finally:
        os.close(fd)
    return raw.decode()


def write(directory: str, file: str, value: str) -> None:
    """Raises OSError; never creates a file."""
    fd = os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def set_value(directory: str, file: str, value: str) -> None:
    """Like `write`, with an error that says what was asked for."""
    try:
        write(directory, file, value)
    except FileNotFoundError:
        raise CgroupError(f"set {file} in cgroup {directory}: this kernel has no such file") from None
    except OSError as error:
        raise CgroupError(f"set {file} to {value} in cgroup {directory}: {reason(error)}") from None


def set_limits(wanted: list[Write], directories: dict[str, str], resources: dict[str, Any], mode: str) -> None:
    """Write in order. The kernel checks a value against those that are there (memory against memory and swap, a quota against its period):
    what it calls invalid is tried once more when the others are written. Raises CgroupError, which names the property."""
    again = []
    for controller, file, value in wanted:
        try:
            write(directories[controller], file, value)
        except OSError as error:
            if error.errno == errno.EINVAL and len(wanted) > 1:
                again.append((controller, file, value))
            else:
                _settle(directories[controller], (controller, file, value), error, resources, mode)
    for controller, file, value in again:
        try:
            write(directories[controller], file, value)
        except OSError as error:
            _settle(directories[controller], (controller, file, value), error, resources, mode)


def _settle(directory: str, refused: Write, cause: OSError, resources: dict[str, Any], mode: str) -> None:
    from crate_runc.cgroup import refusals

    refusals.settle(directory, refused, cause, resources, mode)


def join(directory: str, pid: int) -> None:
    try:
        write(directory, "cgroup.procs", str(pid))
    except OSError as error:
        raise CgroupError(f"move process {pid} to cgroup {directory}: {reason(error)}") from None


def below(directory: str) -> Iterator[str]:
    """The cgroup and those in it, deepest first; nothing where it is gone."""
    try:
        names = [entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return
        raise
    for name in names:
        yield from below(f"{directory}/{name}")
    yield directory


def processes(directory: str) -> set[int]:
    """The pids in the cgroup and in those in it, as seen from our pid namespace."""
    found: set[int] = set()
    for each in below(directory):
        try:
            found.update(int(line) for line in read(each, "cgroup.procs").split())
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    found.discard(0)  # a process of another pid namespace
    return found


def signal_processes(directories: list[str], number: int) -> int:
    """Send `number` to each process and return how many there were. A pid is opened, then looked for again: it may have changed hands."""
    pids = {pid for directory in directories for pid in processes(directory)}
    opened: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                opened[pid] = pidfd.open_process(pid)
            except ProcessLookupError:
                continue
        still = {pid for directory in directories for pid in processes(directory)}
        for pid in opened.keys() & still:
            try:
                pidfd.send_signal(opened[pid], number)
            except ProcessLookupError:
                continue
    finally:
        for fd in opened.values():
            os.close(fd)
    return len(pids)


def remove(directory: str) -> None:
    """The cgroup and those in it. Waits a little for processes that were killed; raises CgroupError where some stay."""
    deadline = time.monotonic() + _REMOVE_SECONDS
    while True:
        try:
            os.rmdir(directory)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise CgroupError(f"remove cgroup {directory}: {reason(error)}") from None
        for each in list(below(directory))[:-1]:
            try:
                os.rmdir(each)
            except OSError:
                continue
        if time.monotonic() > deadline:
            left = ", ".join(map(str, sorted(processes(directory)))) or "none that we can see"
            raise CgroupError(f"remove cgroup {directory}: still in use; processes: {left}")
        time.sleep(_POLL_SECONDS)
