"""Durable writing and removal: what returned is on disk, what was interrupted is not there (rename(2), fsync(2), syncfs(2)).

The one implementation for all records. It does not lock, and does not decide what may be removed.
"""

from __future__ import annotations

import errno
import os

from crate_engine.errors import StoreError
from crate_engine.system.libc import call
from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

_TEMPORARY = ".tmp"
_DEEPEST = 64  # open directory fds on the way down; deeper directories are moved up to the top first


def write(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace the file at `path` as a whole: temporary file, fsync, rename, fsync of the directory."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.{os.urandom(6).hex()}{_TEMPORARY}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, content)
            os.fchmod(fd, mode)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        _discard(temporary)
        raise StoreError(f"write {path}: {error.strerror}") from error
    sync_directory(directory)


def write_all(fd: int, content: bytes | memoryview) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sweep(directory: str) -> None:
    """Remove what interrupted calls of `write` left in a directory; the caller holds the lock under which it is written."""
    for name in os.listdir(directory):
        if name.startswith(".") and name.endswith(_TEMPORARY):
            _discard(f"{directory}/{name}")


def sync_directory(path: str) -> None:
    """A created, renamed or removed entry is durable only once its directory is."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_tree(path: str) -> None:
    """Write back the whole file system that holds `path`: one call is cheaper than one a file of an unpacked layer."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call("syncfs", fd, path=path)
    finally:
        os.close(fd)


def move_to_trash(path: str, trash: str) -> str:
    """Take a file or directory out of its place in one durable step; returns where it is now. Raises FileNotFoundError, StoreError."""
    moved = f"{trash}/{os.urandom(8).hex()}"
    try:
        os.rename(path, moved)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failed(path, error) from error
    sync_directory(os.path.dirname(path))
    return moved


def trash(path: str, into: str) -> None:
    """`move_to_trash`, then `remove_tree`; in a process that may remove the files (inside the user namespace for trees of other ids)."""
    remove_tree(move_to_trash(path, into))


def remove_tree(path: str) -> None:
    """Remove a file or a whole directory; a missing one is no error.

    Never follows a link and never enters a mount: there it stops with a StoreError that names the mount point.
    """
    parent, _, name = path.rpartition("/")
    try:
        fd = os.open(parent or "/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(path, error) from error
    try:
        remove_at(fd, name, shown=path)
    finally:
        os.close(fd)


def remove_at(parent: int, name: str | bytes, *, shown: str) -> None:
    """`remove_tree` of an entry of an open directory; `shown` is how messages call it."""
    name = os.fsencode(name)
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        _remove_directory(parent, name, shown)
    except OSError as error:
        raise _failed(shown, error) from error


def _remove_directory(parent: int, name: bytes, shown: str) -> None:
    """Depth first with at most `_DEEPEST` fds: what lies deeper is moved up into the topmost directory, which is then read again."""
    top = _enter(parent, name, shown)
    if top is None:
        return
    # (fd, its name in the directory above, subdirectories still to go); the deepest is last.
    stack = [(top, name, _empty(top, shown))]
    moved = 0
    try:
        while stack:
            directory, own_name, pending = stack[-1]
            # What stops a removal has to be found by who reads of it.
            where = "/".join([shown, *(os.fsdecode(entered) for _, entered, _ in stack[1:])])
            if not pending:
                if directory == top and moved:
                    pending += _empty(top, shown)
                    moved = 0
                    continue
                stack.pop()
                os.close(directory)
                _rmdir(stack[-1][0] if stack else parent, own_name, where)
            elif len(stack) < _DEEPEST:
                below = pending.pop()
                fd = _enter(directory, below, f"{where}/{os.fsdecode(below)}")
                if fd is None:
                    continue
                stack.append((fd, below, []))
                stack[-1][2].extend(_empty(fd, f"{where}/{os.fsdecode(below)}"))
            else:
                _move_up(directory, pending.pop(), top, where)
                moved += 1
    finally:
        for directory, _, _ in stack:
            os.close(directory)


def _empty(directory: int, shown: str) -> list[bytes]:
    """Unlink everything in a directory that is no directory; returns the names of the directories."""
    subdirectories = []
    for entry in os.listdir(directory):
        name = os.fsencode(entry)
        try:
            os.unlink(name, dir_fd=directory)
        except IsADirectoryError:
            subdirectories.append(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _failed(f"{shown}/{entry}", error) from error
    return subdirectories


def _enter(parent: int, name: bytes, shown: str) -> int | None:
    """Open a subdirectory of the same mount, made readable when its owner may do that. None: another process has just removed it."""
    how = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV
    try:
        try:
            return openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, how)
        except PermissionError:
            handle = openat2(parent, name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, how)
            try:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
            finally:
                os.close(handle)
            return openat2(parent, name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, how)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed(shown, error) from error


def _rmdir(parent: int, name: bytes, shown: str) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed(shown, error) from error


def _move_up(directory: int, name: bytes, top: int, shown: str) -> None:
    try:
        os.rename(name, b".removed-" + os.urandom(8).hex().encode(), src_dir_fd=directory, dst_dir_fd=top)
    except OSError as error:
        raise _failed(f"{shown}/{os.fsdecode(name)}", error) from error


def _failed(shown: str, error: OSError) -> StoreError:
    if error.errno in (errno.EXDEV, errno.EBUSY):
        return StoreError(f"remove {shown}: something is mounted there", hint="unmount it and try again")
    # As after a change of /etc/subuid: an ordinary user cannot remove what belongs to ids that were theirs.
    denied = error.errno in (errno.EACCES, errno.EPERM) and os.geteuid() == 0
    hint = "it belongs to ids that this user namespace does not map; root of the host can remove it" if denied else None
    return StoreError(f"remove {shown}: {error.strerror}", hint=hint)


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
