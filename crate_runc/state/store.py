"""The directories below the state root: `<root>/<id>/state.json`, written atomically, and one lock per container.

The lock is flock(2) on the container's directory, so it is gone with its holder and leaves no file. Who only reads (`state`, `list`, `kill`)
takes none: state.json is always whole. Whatever else a container needs (the start fifo) may stand in its directory; `remove` takes all.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from crate_runc import strict_json
from crate_runc.errors import StateError, reason
from crate_runc.state import paused
from crate_runc.state.record import ContainerState, from_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NO_CONTAINER = "container does not exist"  # callers match these words
TAKEN = "container with given ID already exists"
_NAME_MAX = 255
_POLL_SECONDS = 0.01
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
_READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def check_id(container_id: str) -> None:
    """Raises StateError; an id that passes is one path component."""
    if not container_id or len(container_id) > _NAME_MAX or set(container_id) - _LETTERS or container_id in (".", ".."):
        raise StateError("invalid container ID format")


def default_root(euid: int, environment: dict[str, str] | os._Environ[str]) -> str:
    """/run/crate-runc for root, $XDG_RUNTIME_DIR/crate-runc for a user and for root of a user's namespace."""
    runtime_directory = environment.get("XDG_RUNTIME_DIR", "")
    if euid == 0 and not (runtime_directory and _in_user_namespace()):
        return "/run/crate-runc"
    if not runtime_directory.startswith("/"):
        raise StateError("state root: XDG_RUNTIME_DIR is not set to an absolute path; name a directory with --root")
    return os.path.join(runtime_directory, "crate-runc")


class Busy(StateError):
    """Another command has held the lock for longer than one wanted to wait."""


class Entry:
    """One container's directory, open and locked until `close` (unless opened to be read)."""

    __slots__ = ("_fd", "_locked", "directory", "id")

    def __init__(self, container_id: str, directory: str, fd: int, locked: bool) -> None:
        self.id = container_id
        self.directory = directory
        self._fd = fd
        self._locked = locked

    def claim(self) -> None:
        """Take over a directory that a killed command left without a state; raises StateError (and closes) where there is one."""
        names = os.listdir(self._fd)
        if "state.json" in names:
            self.close()
            raise StateError(TAKEN)
        for name in names:
            _unlink(name, self._fd)

    def load(self) -> ContainerState:
        """Raises StateError where there is no state yet or it cannot be read."""
        try:
            fd = os.open("state.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._fd)
        except FileNotFoundError:
            raise StateError(NO_CONTAINER) from None
        with open(fd, "rb", buffering=0) as file:
            raw = file.readall()
        try:
            return from_json(strict_json.loads(raw))
        except strict_json.JSONError as error:
            raise StateError(f"{self.directory}/state.json: {error}") from None

    def save(self, state: ContainerState) -> None:
        """Atomic, not durable: the root is a tmpfs, and no container outlives a boot."""
        fd = os.open(
            "state.json.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._fd
        )
        try:
            text = memoryview(strict_json.dumps(state.to_json()))
            while text:
                text = text[os.write(fd, text) :]
        finally:
            os.close(fd)
        os.rename("state.json.new", "state.json", src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def status(self, state: ContainerState) -> str:
        """What the container is now: the record together with /proc and the cgroup."""
        alive = is_alive(state)
        creator_alive = alive or state.phase != "creating" or self._locked or self._locked_by_another()
        status = state.status(alive=alive, creator_alive=creator_alive)
        return "paused" if status in ("created", "running") and paused.is_frozen(state.cgroup_paths) else status

    def remove(self) -> None:
        """The directory and all in it. state.json goes first: a rest without it is no container, and `create` takes it over."""
        for name in sorted(os.listdir(self._fd), key=lambda name: name != "state.json"):
            _unlink(name, self._fd)
        os.rmdir(self.directory)

    def forget(self) -> None:
        """In a forked child: the lock is its parent's alone, and ends with that."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Unlocks at once even where a forked child still has a copy of the file descriptor. May be called twice."""
        if self._fd >= 0:
            if self._locked:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _locked_by_another(self) -> bool:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(self._fd, fcntl.LOCK_UN)
        return False


class StateStore:
    """`root` is made when the first container is; it must belong to the caller and be writable by nobody else."""

    __slots__ = ("root",)

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)
        if not self.root.strip("/"):
            raise StateError("state root: / cannot be used")

    def create(self, container_id: str) -> Entry:
        """A new, empty, locked directory. Raises StateError where the id is bad or taken."""
        check_id(container_id)
        self._make_root()
        directory = os.path.join(self.root, container_id)
        while True:
            try:
                os.mkdir(directory, 0o700)
                made = True
            except FileExistsError:
                made = False
            except OSError as error:
                raise StateError(f"make {directory}: {reason(error)}") from None
            entry = self._open(container_id, fcntl.LOCK_EX if made else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if entry is not None:
                entry.claim()
                return entry

    def open(self, container_id: str, *, lock: bool = True, patience: float | None = None) -> Entry:
        """Waits while another command holds the lock: for ever, or `patience` seconds, after which Busy is raised. Raises StateError where there is
        no such container."""
        check_id(container_id)
        self._check_root()
        entry = self._open(container_id, fcntl.LOCK_EX if lock else 0, patience)
        if entry is None:
            raise StateError(NO_CONTAINER)
        return entry

    def list(self) -> list[str]:
        """The ids, sorted."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StateError(f"read {self.root}: {reason(error)}") from None
        self._check_root()
        return sorted(name for name in names if not set(name) - _LETTERS and os.path.isdir(os.path.join(self.root, name)))

    def entries(self) -> Iterator[tuple[Entry, ContainerState]]:
        """Each container, opened to be read and closed afterwards; those that vanish or are half made are passed over."""
        for container_id in self.list():
            try:
                with self.open(container_id, lock=False) as entry:
                    state = entry.load()
                    yield entry, state
            except StateError:
                continue

    def _open(self, container_id: str, lock: int, patience: float | None = None) -> Entry | None:
        """None where there is no such directory, or it was removed while this waited for the lock."""
        directory = os.path.join(self.root, container_id)
        try:
            fd = os.open(directory, _READ_DIRECTORY)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise StateError(f"open {directory}: {reason(error)}") from None
        try:
            if patience is not None:
                _lock_within(patience, fd, lock)
            elif lock:
                fcntl.flock(fd, lock)
        except BlockingIOError:
            os.close(fd)
            raise StateError(TAKEN) from None
        if os.fstat(fd).st_nlink == 0:
            os.close(fd)
            return None
        return Entry(container_id, directory, fd, lock != 0)

    def _make_root(self) -> None:
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
        except OSError as error:
            raise StateError(f"make the state root {self.root}: {reason(error)}") from None
        self._check_root()

    def _check_root(self) -> None:
        """Whoever can write here decides which program a later `exec` or hook runs as us."""
        try:
            status = os.lstat(self.root)
        except FileNotFoundError:
            raise StateError(NO_CONTAINER) from None
        except OSError as error:
            raise StateError(f"state root {self.root}: {reason(error)}") from None
        if status.st_mode & 0o170000 != 0o040000:
            raise StateError(f"state root {self.root}: not a directory")
        if status.st_uid != os.geteuid():
            raise StateError(f"state root {self.root}: belongs to uid {status.st_uid}, not to uid {os.geteuid()}")
        if status.st_mode & 0o022:
            raise StateError(f"state root {self.root}: others may write to it; run: chmod go-w {self.root}")


def _unlink(name: str, directory: int) -> None:
    """A file, or the directory of the notify socket; never what some other directory holds, which could be mounted there."""
    try:
        os.unlink(name, dir_fd=directory)
        return
    except IsADirectoryError:
        pass
    if name == "notify":
        try:
            os.unlink("notify/notify.sock", dir_fd=directory)
        except FileNotFoundError:
            pass
    os.rmdir(name, dir_fd=directory)


def _lock_within(seconds: float, fd: int, lock: int) -> None:
    """Raises Busy, and closes the descriptor."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(fd, lock | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise Busy("another command holds the container") from None
        time.sleep(_POLL_SECONDS)


def is_alive(state: ContainerState) -> bool:
    """The very process that was recorded, and not a zombie."""
    if state.pid <= 0 or state.boot_id != boot_id():
        return False
    found = start_time(state.pid)
    return found is not None and found == state.start_time


def start_time(pid: int) -> int | None:
    """The start time of a process in clock ticks after boot; None where there is none or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the command's name may itself hold spaces and brackets
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


_boot_id = ""


def boot_id() -> str:
    """Read once, as no process outlives a boot."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id", "rb", buffering=0) as file:
            _boot_id = file.read(64).decode().strip()
    return _boot_id


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="utf-8") as file:
        return file.read().split() != ["0", "0", "4294967295"]
