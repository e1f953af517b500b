"""Where the engine keeps things: the data root and the run root, and the directories below them (XDG Base Directory Specification).

Every directory is made with mode 0700 when it is first asked for. What each holds is in ARCHITECTURE.md.
"""

from __future__ import annotations

import os
import stat

from crate_engine.errors import StoreError

ROOT_VARIABLE, RUNROOT_VARIABLE = "CRATE_UNSHARED_ROOT", "CRATE_UNSHARED_RUNROOT"
"""Set by `crate unshare` for what runs inside."""


class Store:
    """The two roots, absolute. A value that can be handed to a child in a user namespace: it stays valid there."""

    __slots__ = ("root", "runroot")

    def __init__(self, root: str, runroot: str) -> None:
        self.root = root
        self.runroot = runroot

    @classmethod
    def open(cls, root: str | None = None, runroot: str | None = None) -> Store:
        """The given roots or the calling user's own, made when missing.

        Raises StoreError where a root is a link, belongs to another user, or is writable by others.
        """
        store = cls(
            os.path.abspath(root) if root else _default_root(), os.path.abspath(runroot) if runroot else _default_runroot()
        )
        for path in (store.root, store.runroot):
            _make_root(path)
        return store

    @property
    def oci(self) -> str:
        return _directory(self.root, "oci")

    @property
    def layers(self) -> str:
        return _directory(self.root, "layers")

    @property
    def containers(self) -> str:
        return _directory(self.root, "containers")

    @property
    def names(self) -> str:
        return _directory(self.root, "names")

    @property
    def locks(self) -> str:
        return _directory(self.root, "locks")

    @property
    def ingest(self) -> str:
        return _directory(self.root, "ingest")

    @property
    def trash(self) -> str:
        return _directory(self.root, "trash")

    @property
    def run_containers(self) -> str:
        return _directory(self.runroot, "containers")

    @property
    def runtime_root(self) -> str:
        return _directory(self.runroot, "runtime")


def make_directory(path: str) -> None:
    """One directory of mode 0700, whatever the umask; an existing one is left as it is."""
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"make directory {path}: {error.strerror}") from error
    os.chmod(path, 0o700)


def _directory(root: str, name: str) -> str:
    path = f"{root}/{name}"
    make_directory(path)
    return path


def _default_root() -> str:
    if os.geteuid() == 0:
        return _unshared(ROOT_VARIABLE) or "/var/lib/crate"
    home = os.environ.get("XDG_DATA_HOME", "")
    # The specification: a relative path in these variables is invalid and to be ignored.
    return f"{home if home.startswith('/') else _home() + '/.local/share'}/crate"


def _default_runroot() -> str:
    if os.geteuid() == 0:
        return _unshared(RUNROOT_VARIABLE) or "/run/crate"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/") and os.path.isdir(runtime):
        _check_owned(runtime, "unset XDG_RUNTIME_DIR, or log in as this user rather than through su")
        return f"{runtime}/crate"
    temporary = os.environ.get("TMPDIR", "")
    return f"{temporary if temporary.startswith('/') else '/tmp'}/crate-{os.geteuid()}"


def _unshared(variable: str) -> str:
    """Inside of `crate unshare` an ordinary user is id 0 and works on their own store; root's environment is not listened to."""
    path = os.environ.get(variable, "")
    if not path.startswith("/"):
        return ""
    from crate_engine.system.userns import inside

    return path if inside() else ""


def _home() -> str:
    home = os.environ.get("HOME", "")
    if home.startswith("/"):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        raise StoreError("find the home directory: HOME is not set", hint="set HOME, or give --root and --runroot") from None


def _make_root(path: str) -> None:
    missing = []
    parent = path
    while not os.path.lexists(parent):
        missing.append(parent)
        parent = os.path.dirname(parent)
    for directory in reversed(missing):
        make_directory(directory)
    _check_owned(path, "give --root and --runroot directories of your own")


def _check_owned(path: str, hint: str) -> None:
    """A directory that others can write, or make, is a door into everything below it."""
    try:
        status = os.lstat(path)
    except OSError as error:
        raise StoreError(f"open directory {path}: {error.strerror}", hint=hint) from error
    cause = ""
    if not stat.S_ISDIR(status.st_mode):
        cause = "is a symbolic link" if stat.S_ISLNK(status.st_mode) else "is not a directory"
    elif status.st_uid != os.geteuid():
        cause = f"belongs to user {status.st_uid}, not to {os.geteuid()}"
    elif status.st_mode & 0o022:
        cause = f"can be written by others (mode {stat.S_IMODE(status.st_mode):04o})"
    if cause:
        raise StoreError(f"use directory {path}: it {cause}", hint=hint)
