"""Names below a directory that somebody else controls: openat2(2) with RESOLVE_IN_ROOT, or a walk that follows no link by itself.

Every function takes the root as a descriptor and returns a descriptor: a name is resolved once and never again (CVE-2021-30465).
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from crate_runc.kernel.libc import syscall

_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_IN_ROOT = 2, 4, 0x10
_O_PATH = os.O_PATH | os.O_CLOEXEC
_MAX_LINKS = 40
_MAX_RACES = 128  # RESOLVE_IN_ROOT answers EAGAIN when a rename happens during its walk


def open_in_root(root: int, path: str, flags: int = os.O_PATH, mode: int = 0, *, links: bool = True) -> int:
    """Open `path` with `root` as the root directory: links and `..` cannot leave it. Without `links`, one is ELOOP. Raises OSError; the caller
    closes the fd."""
    resolve = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = struct.pack("=3Q", flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_MAX_RACES):
        try:
            return syscall("openat2", root, os.fsencode(path) or b".", how, len(how), path=path)
        except OSError as error:
            if error.errno == errno.ENOSYS or (error.errno == errno.EPERM and _is_filtered()):
                return _walk(root, path, flags, mode, links=_MAX_LINKS if links else 0)
            if error.errno != errno.EAGAIN:
                raise
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), path)


def make_directory_in_root(root: int, path: str, mode: int = 0o755) -> int:
    """An O_PATH descriptor of the directory `path`, with what was missing of it created; a dangling link is followed inside the root."""
    links = _MAX_LINKS
    parts = _parts(path)
    done: list[str] = []
    here = os.open(".", _O_PATH | os.O_DIRECTORY, dir_fd=root)
    try:
        while parts:
            name = parts[0]
            try:
                below = open_in_root(root, "/".join([*done, name]), os.O_PATH | os.O_DIRECTORY)
            except FileNotFoundError:
                try:
                    os.mkdir(name, mode, dir_fd=here)
                    below = os.open(name, _O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                except FileExistsError:
                    links -= 1
                    if links < 0:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
                    target = os.readlink(name, dir_fd=here)
                    parts = [*_parts(target), *parts[1:]]
                    done = [] if target.startswith("/") else done
                    os.close(here)
                    here = open_in_root(root, "/".join(done), os.O_PATH | os.O_DIRECTORY)
                    continue
            os.close(here)
            here = below
            done.append(name)
            del parts[0]
    except BaseException:
        os.close(here)
        raise
    return here


def make_file_in_root(root: int, path: str, mode: int = 0o644) -> int:
    """An O_PATH descriptor of `path`, created as an empty regular file (and its directories) where nothing is there; a dangling link is followed
    inside the root."""
    for _ in range(_MAX_LINKS):
        try:
            return open_in_root(root, path)
        except FileNotFoundError:
            parent, _, name = path.rstrip("/").rpartition("/")
            directory = make_directory_in_root(root, parent)
        try:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory))
            return os.open(name, _O_PATH | os.O_NOFOLLOW, dir_fd=directory)
        except FileExistsError:
            target = os.readlink(name, dir_fd=directory)
            path = target if target.startswith("/") else f"{parent}/{target}"
        finally:
            os.close(directory)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def read_small_file_in_root(root: int, path: str, limit: int) -> bytes | None:
    """The content of a regular file; None where there is none, where it is something else, or where it is longer than `limit` bytes."""
    try:
        fd = open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        return os.read(fd, limit) if stat.S_ISREG(status.st_mode) and status.st_size <= limit else None
    finally:
        os.close(fd)


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def _is_filtered() -> bool:
    """Old seccomp filters answer EPERM for a call that they do not know, even where the call makes no sense, which is EINVAL else."""
    try:
        syscall("openat2", -1, b".", b"", 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return False


def _walk(root: int, path: str, flags: int, mode: int, *, links: int) -> int:
    """openat2's work for a kernel or a filter without it: one component at a time, links read and followed by hand."""
    parts = _parts(path)
    stack = [os.open(".", _O_PATH | os.O_DIRECTORY, dir_fd=root)]
    try:
        while parts:
            name = parts.pop(0)
            if name == "..":
                if len(stack) > 1:
                    os.close(stack.pop())
                continue
            fd = os.open(name, _O_PATH | os.O_NOFOLLOW, dir_fd=stack[-1])
            if not stat.S_ISLNK(os.fstat(fd).st_mode):
                stack.append(fd)
                continue
            os.close(fd)
            if not parts and flags & os.O_NOFOLLOW:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            links -= 1
            if links < 0:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(name, dir_fd=stack[-1])
            parts = [*_parts(target), *parts]
            if target.startswith("/"):
                while len(stack) > 1:
                    os.close(stack.pop())
        return _reopen(stack[-1], flags, mode, path)
    finally:
        for fd in stack:
            os.close(fd)


def _reopen(fd: int, flags: int, mode: int, path: str) -> int:
    if flags & os.O_PATH:
        if flags & os.O_DIRECTORY and not stat.S_ISDIR(os.fstat(fd).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return os.dup(fd)
    return os.open(f"/proc/self/fd/{fd}", (flags & ~os.O_NOFOLLOW) | os.O_CLOEXEC, mode)
