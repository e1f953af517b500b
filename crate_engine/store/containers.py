"""Container records on disk: made with an exclusive name, read with what their monitors left, removed through the trash.

The record `container.json` is written last and never changes. What a container does now is worked out from its monitor's files and from
whether the processes named there still are those processes. Nothing is started or signalled here.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager

from crate_engine.errors import AmbiguousName, ContainerNotFound, NameInUse, StoreError, UsageError
from crate_engine.jsontext import dumps, loads
from crate_engine.network.plan import PortMapping
from crate_engine.options import RunOptions
from crate_engine.store import durable
from crate_engine.store.names import generate
from crate_engine.system import process
from crate_engine.values import asdict, dataclass, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from crate_engine.store.paths import Store

RECORD_VERSION = 1
_NAME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What was decided when the container was created; schemas/crate/container.json. Times are nanoseconds of the epoch."""

    id: str
    name: str
    created: int
    image: str
    """The familiar name the image was asked for by."""
    image_id: str
    options: RunOptions
    runtime: str
    """What --runtime named."""
    snapshot: dict[str, Any]
    network: str
    ports: tuple[tuple[int, int, str, str], ...]
    """(container port, host port, protocol, host address); a host port of 0 is chosen at each start."""
    command: tuple[str, ...]
    hostname: str
    user: str
    stop_signal: str
    config: dict[str, Any]
    """config.json but for what the root's files and the network of each start add."""
    version: int = RECORD_VERSION

    def to_text(self) -> str:
        return dumps({field.name: getattr(self, field.name) for field in fields(self)} | {"options": asdict(self.options)})

    @classmethod
    def from_text(cls, text: str) -> Record:
        """Raises ValueError, KeyError or TypeError for what this version did not write."""
        values = loads(text)
        if values["version"] != RECORD_VERSION:
            raise ValueError(f"version {values['version']} is not known here")
        options: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values["options"].items()
        }
        ports = tuple((int(a), int(b), str(c), str(d)) for a, b, c, d in values["ports"])
        return cls(**values | {"options": RunOptions(**options), "ports": ports, "command": tuple(values["command"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a container does now. `pid` and `start_time` identify its process while it runs; `exit_code` None: unknown or none yet."""

    status: str
    """created, starting, running, stopping or exited."""
    exit_code: int | None = None
    error: str = ""
    pid: int = 0
    start_time: int = 0
    monitor: int = 0
    """The pid of its living monitor, else 0; for a moment it cleans up after a container that has exited."""
    pasta: tuple[int, int] = (0, 0)
    started: int = 0
    finished: int = 0
    ports: tuple[PortMapping, ...] = ()
    """Published while it runs, with the host ports that were chosen."""
    stale: bool = False
    """Its monitor was killed, and what it held has to be cleaned up."""


class ContainerStore:
    """The containers below a store's two roots."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def directory(self, identity: str) -> str:
        return f"{self._store.containers}/{identity}"

    def run_directory(self, identity: str) -> str:
        return f"{self._store.run_containers}/{identity}"

    def name_link(self, name: str) -> str:
        return f"{self._store.names}/{name}"

    @contextmanager
    def new(self, name: str | None) -> Iterator[tuple[str, str]]:
        """Reserve an id and the name, or a generated one; the caller writes the container's files and, last, its record.

        Yields (id, name). On an exception everything is removed again. Raises NameInUse.
        """
        identity = os.urandom(32).hex()
        path = self.directory(identity)
        os.mkdir(path, 0o700)
        with _locked(path):
            taken = None
            try:
                taken = self._claim(name, identity)
                yield identity, taken
            except BaseException:
                durable.remove_tree(path)
                if taken:
                    self._release(taken, identity)
                raise

    def write(self, record: Record, *, durably: bool) -> None:
        """Make the container visible. Without `durably` it may be lost in a crash of the host, which is enough for one run of `--rm`."""
        path = f"{self.directory(record.id)}/container.json"
        if durably:
            durable.write(path, record.to_text().encode())
            durable.sync_directory(self._store.containers)  # its own entry there
            return
        fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            durable.write_all(fd, record.to_text().encode())
        finally:
            os.close(fd)
        os.rename(f"{path}.tmp", path)

    @contextmanager
    def lock(self, identity: str) -> Iterator[None]:
        """One command at a time changes a container. The lock is on its directory, and dies with the holder. Raises ContainerNotFound."""
        path = self.directory(identity)
        try:
            with _locked(path):
                yield
        except FileNotFoundError as error:
            raise _missing(identity) from error

    def all(self) -> list[Record]:
        """Newest first, without damaged ones, which `find` complains about. What an interrupted `create` left is removed on the way."""
        records = []
        for identity in os.listdir(self._store.containers):
            try:
                record = self.read(identity)
            except StoreError:
                continue
            if record:
                records.append(record)
            elif not os.path.exists(f"{self.directory(identity)}/container.json"):
                self.sweep(identity)
        return sorted(records, key=lambda record: record.created, reverse=True)

    def find(self, text: str) -> Record:
        """By name, by id, or by the beginning of one id only. Raises ContainerNotFound or AmbiguousName."""
        identity = self._named(text) if is_name(text) else None
        if identity is None and text and all(character in "0123456789abcdef" for character in text):
            matches = [entry for entry in os.listdir(self._store.containers) if entry.startswith(text)]
            matches = [entry for entry in matches if os.path.exists(f"{self.directory(entry)}/container.json")]
            if len(matches) > 1:
                raise AmbiguousName(f"container {text}: {len(matches)} ids begin like this", hint="give more digits, or the name")
            identity = matches[0] if matches else None
        record = self.read(identity) if identity else None
        if record is None:
            raise _missing(text)
        return record

    def condition(self, identity: str) -> Condition:
        """Worked out anew from the files and the process table."""
        state = _load(f"{self.run_directory(identity)}/state.json")
        if state and state["boot_id"] == process.boot_id():
            condition = self._alive(identity, state)
            if condition:
                return condition
        return self._ended(identity, stale=state is not None)

    def _alive(self, identity: str, state: dict[str, Any]) -> Condition | None:
        init, monitor, pasta = state["init"], state["monitor"], state["pasta"] or {"pid": 0, "start_time": 0}
        living = monitor["pid"] if is_same(monitor) else 0
        common: dict[str, Any] = {"monitor": living, "started": state["started"], "pasta": (pasta["pid"], pasta["start_time"])}
        common["ports"] = tuple(PortMapping(*port) for port in state["ports"])
        if init and is_same(init):
            return Condition(status="running", pid=init["pid"], start_time=init["start_time"], stale=not living, **common)
        if living and state["status"] == "starting":
            return Condition(status="starting", **common)
        if living:
            ended = _load(f"{self.directory(identity)}/exit.json")
            if ended is None:
                return Condition(status="stopping", **common)
            return Condition(status="exited", exit_code=ended["exit_code"], finished=ended["finished"], **common | {"ports": ()})
        ended_condition = self._ended(identity, stale=True)
        return Condition(
            status=ended_condition.status,
            exit_code=ended_condition.exit_code,
            error=ended_condition.error,
            finished=ended_condition.finished,
            stale=True,
            **common | {"started": ended_condition.started, "ports": ()},
        )

    def _ended(self, identity: str, *, stale: bool) -> Condition:
        directory = self.directory(identity)
        start = _load(f"{directory}/start.json")
        ended = _load(f"{directory}/exit.json")
        started = start["started"] if start else 0
        if ended:
            return Condition(
                status="exited" if start else "created",
                exit_code=ended["exit_code"],
                error=ended["error"],
                started=started,
                finished=ended["finished"],
                stale=stale,
            )
        return Condition(status="exited" if start else "created", started=started, stale=stale)

    def take_out(self, record: Record) -> str:
        """Remove the container from the store in one step; returns where its files are now, for `durable.remove_tree` where ids are mapped.

        Raises ContainerNotFound where another command was first.
        """
        try:
            moved = durable.move_to_trash(self.directory(record.id), self._store.trash)
        except FileNotFoundError as error:
            raise _missing(record.name) from error
        self._release(record.name, record.id)
        durable.remove_tree(self.run_directory(record.id))
        return moved

    def read(self, identity: str) -> Record | None:
        """None where there is no record. Raises StoreError for a damaged one."""
        path = f"{self.directory(identity)}/container.json"
        try:
            with open(path, encoding="utf-8") as file:
                return Record.from_text(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"read {path}: {type(error).__name__}: {error}", hint=f"if it is damaged, remove {self.directory(identity)}"
            ) from error

    def adopt_name(self, record: Record) -> bool:
        """Let its name lead to the container again; False where another container has it. The caller holds its lock."""
        return self._named(record.name) == record.id or self._link(record.name, record.id)

    def _named(self, name: str) -> str | None:
        try:
            return os.readlink(self.name_link(name))
        except OSError:
            return None

    def _claim(self, name: str | None, identity: str) -> str:
        if name is not None:
            if not is_name(name):
                raise UsageError(
                    f"container name {name[:80]!r}: must begin with a letter or digit, then letters, digits, '_', '.', '-'; at most 128"
                )
            if not self._link(name, identity):
                raise NameInUse(
                    f"container name {name}: in use by container {(self._named(name) or '')[:12]}",
                    hint=f"choose another name, or remove it: crate rm {name}",
                )
            return name
        while True:
            name = generate()
            if self._link(name, identity):
                return name

    def _link(self, name: str, identity: str) -> bool:
        link = self.name_link(name)
        for _ in range(2):
            try:
                os.symlink(identity, link)
            except FileExistsError:
                owner = self._named(name)
                # A name whose container was never finished, or went away half removed, is free.
                if owner is None or os.path.exists(f"{self.directory(owner)}/container.json") or not self.sweep(owner):
                    return False
                self._release(name, owner)
                continue
            return True
        return False

    def _release(self, name: str, identity: str) -> None:
        try:
            if os.readlink(self.name_link(name)) == identity:
                os.unlink(self.name_link(name))
        except OSError:
            pass

    def sweep(self, identity: str) -> bool:
        """Remove what an interrupted `create` left; False while that `create` still runs."""
        path = self.directory(identity)
        try:
            with _locked(path, wait=False):
                if not os.path.exists(f"{path}/container.json"):
                    durable.remove_tree(path)
        except BlockingIOError:
            return False
        except FileNotFoundError:
            pass
        return True


def is_name(text: str) -> bool:
    """`[A-Za-z0-9][A-Za-z0-9_.-]{0,127}`, in ASCII and as a whole."""
    return (
        0 < len(text) <= 128 and text[0] in _NAME_LETTERS and all(letter in _NAME_LETTERS or letter in "_.-" for letter in text)
    )


def is_same(identity: dict[str, int]) -> bool:
    """Whether the process is still the one that was recorded, and no zombie."""
    return identity["start_time"] != 0 and process.start_time(identity["pid"]) == identity["start_time"]


@contextmanager
def _locked(path: str, *, wait: bool = True) -> Iterator[None]:
    """Raises FileNotFoundError where the directory is, or meanwhile was moved, away; without `wait` BlockingIOError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        ours, there = os.fstat(fd), os.stat(path)
        if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
            raise FileNotFoundError(path)
        yield
    finally:
        os.close(fd)


def _load(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            value: dict[str, Any] = loads(file.read())
            return value
    except (OSError, ValueError):
        return None


def _missing(text: str) -> ContainerNotFound:
    return ContainerNotFound(f"container {text[:128]}: no such container", hint="crate ps -a lists all containers")
