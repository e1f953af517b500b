"""One layer's entries made real below a directory fd, in the form that overlayfs stacks (overlayfs.rst, image-spec layer.md).

Every entry's parent is resolved by openat2(2) inside the root, and the last component is only touched by *at calls that do not follow
links. Owners, modes and times are set on what was just made; directories get theirs at the end. Knows nothing of tar or of compression.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress

from crate_engine.errors import LayerError, StoreError
from crate_engine.layers.entries import Action, Entry, show
from crate_engine.store import durable
from crate_engine.system.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_HOW = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENTS = 64
_NODES = {Action.FIFO: stat.S_IFIFO, Action.CHARACTER_DEVICE: stat.S_IFCHR, Action.BLOCK_DEVICE: stat.S_IFBLK}
OWNER_XATTR = "user.containers.override_stat"
"""Where only one id is mapped, the owner and mode of a file or directory are kept here as `uid:gid:mode`, as fuse-overlayfs reads it."""


class Unpacker:
    """Applies the entries of one layer. `root` is an fd of an empty directory, kept by the caller.

    `mode` is the user namespace's: *root* makes devices and marks opaque directories with trusted.overlay.opaque; in *range* and *single*
    devices are left out, as they could not be made, and the mark is user.overlay.opaque. *single* keeps foreign owners in an attribute.
    The umask of the process must be 0.
    """

    def __init__(self, root: int, mode: str) -> None:
        self._root = root
        self._single = mode == "single"
        self._devices = mode == "root"
        self._opaque = "trusted.overlay.opaque" if mode == "root" else "user.overlay.opaque"
        self._parents: dict[bytes, int] = {}
        self._directories: dict[bytes, Entry] = {}
        self._whiteouts: set[bytes] = set()

    def apply(self, entry: Entry, content: Callable[[int, int], None]) -> None:
        """Make the entry; `content(fd, size)` writes a file's bytes. Raises LayerError or StoreError, naming the entry."""
        try:
            self._apply(entry, content)
        except OSError as error:
            raise self._failed(entry, error) from error

    def finish(self) -> None:
        """Give directories their owners, modes and times: before, making what is in them would have changed these."""
        for path, entry in reversed(self._directories.items()):
            try:
                fd = openat2(self._root, path or b".", _DIRECTORY | os.O_NOFOLLOW, _HOW)
                try:
                    self._own(fd, entry)
                finally:
                    os.close(fd)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry took its place
            except OSError as error:
                raise self._failed(entry, error) from error
        self.close()

    def close(self) -> None:
        for fd in self._parents.values():
            os.close(fd)
        self._parents.clear()

    def _apply(self, entry: Entry, content: Callable[[int, int], None]) -> None:
        path = entry.path
        if entry.action is Action.NOTHING:
            return
        if entry.action is Action.DIRECTORY:
            self._make_directory(path)
            self._directories[path] = entry
            return
        if entry.action is Action.OPAQUE:
            self._make_directory(path)
            self._mark_opaque(path)
            return
        parent_path, _, name = path.rpartition(b"/")
        parent = self._parent(parent_path)
        if entry.action is Action.WHITEOUT:
            self._make_whiteout(parent, path, name)
            return
        try:
            self._make(parent, name, entry, content)
        except FileExistsError:
            self._clear(parent, path, name)
            self._make(parent, name, entry, content)

    def _make(self, parent: int, name: bytes, entry: Entry, content: Callable[[int, int], None]) -> None:
        """Raises FileExistsError before anything was made or read."""
        action = entry.action
        if action is Action.FILE:
            self._make_file(parent, name, entry, content)
        elif action is Action.SYMLINK:
            self._make_symlink(parent, name, entry)
        elif action is Action.HARD_LINK:
            self._make_link(parent, name, entry)
        else:
            self._make_node(parent, name, entry, _NODES[action])

    # directories

    def _parent(self, path: bytes) -> int:
        """An fd of the directory at `path`, made when missing. Kept for the next entries: whatever removes something drops them all."""
        if not path:
            return self._root
        fd = self._parents.get(path)
        if fd is None:
            try:
                fd = openat2(self._root, path, _DIRECTORY, _HOW)
            except (FileNotFoundError, NotADirectoryError):
                self._make_directory(path, implied=True)
                fd = openat2(self._root, path, _DIRECTORY, _HOW)
            if len(self._parents) >= _OPEN_PARENTS:
                self.close()
            self._parents[path] = fd
        return fd

    def _make_directory(self, path: bytes, *, implied: bool = False) -> None:
        """One directory and the missing ones above it. `implied`: the archive has no entry of its own for it."""
        missing = []
        while path and not self._is_directory(path):
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for path in reversed(missing):
            parent_path, _, name = path.rpartition(b"/")
            parent = openat2(self._root, parent_path or b".", _DIRECTORY, _HOW)
            try:
                self._make_one(parent, path, name, replace=path == missing[0] and not implied)
            finally:
                os.close(parent)

    def _make_one(self, parent: int, path: bytes, name: bytes, *, replace: bool) -> None:
        self._directories.pop(path, None)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if not replace and path not in self._whiteouts:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
            self._clear(parent, path, name)
            os.mkdir(name, 0o755, dir_fd=parent)
            self._mark_opaque(path)  # what it replaced had already hidden the directory of the layers below

    def _is_directory(self, path: bytes) -> bool:
        """Whether a directory of this layer is there; of the last component, not of what a link points to."""
        try:
            os.close(openat2(self._root, path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, _HOW))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _mark_opaque(self, path: bytes) -> None:
        fd = openat2(self._root, path or b".", _DIRECTORY | os.O_NOFOLLOW, _HOW)
        try:
            os.setxattr(fd, self._opaque, b"y")
        except OSError as error:
            hint = "the store needs a file system with user extended attributes: ext4, xfs, btrfs, or tmpfs since Linux 6.6"
            raise StoreError(f"unpack {show(path)}: set {self._opaque}: {error.strerror}", hint=hint) from error
        finally:
            os.close(fd)

    def _make_whiteout(self, parent: int, path: bytes, name: bytes) -> None:
        """Only what lies below is hidden: an entry of this layer stays, and a directory of this layer starts out empty."""
        try:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            self._whiteouts.add(path)
        except FileExistsError:
            if self._is_directory(path):
                self._mark_opaque(path)

    def _clear(self, parent: int, path: bytes, name: bytes) -> None:
        """Of several entries with one name the last one counts."""
        self._close_except(parent)
        durable.remove_at(parent, name, shown=show(path))
        self._whiteouts.discard(path)

    def _close_except(self, kept: int) -> None:
        for path, fd in list(self._parents.items()):
            if fd != kept:
                os.close(fd)
                del self._parents[path]

    # everything else

    def _make_file(self, parent: int, name: bytes, entry: Entry, content: Callable[[int, int], None]) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                content(fd, entry.size)
            self._own(fd, entry)
        finally:
            os.close(fd)

    def _own(self, fd: int, entry: Entry) -> None:
        """Owner, mode, attributes, times, in the order in which the kernel keeps them: chown(2) takes set-id bits and capabilities away."""
        if not self._single:
            os.fchown(fd, entry.uid, entry.gid)
        elif entry.uid or entry.gid:
            _set_xattr(fd, OWNER_XATTR, f"{entry.uid}:{entry.gid}:0{entry.mode:o}".encode())
        os.fchmod(fd, entry.mode)
        for key, value in entry.xattrs.items():
            allowed = _allowed_xattr(key, value)
            if allowed is not None:
                _set_xattr(fd, key, allowed)
        os.utime(fd, ns=(entry.mtime_ns, entry.mtime_ns))

    def _make_symlink(self, parent: int, name: bytes, entry: Entry) -> None:
        os.symlink(entry.link, name, dir_fd=parent)
        self._own_name(parent, name, entry)

    def _make_node(self, parent: int, name: bytes, entry: Entry, kind: int) -> None:
        # 0:0 is overlayfs's own mark of a removed entry and may not come from an archive.
        if kind != stat.S_IFIFO and (not self._devices or entry.device == (0, 0)):
            return
        os.mknod(name, kind | entry.mode, os.makedev(*entry.device), dir_fd=parent)
        self._own_name(parent, name, entry)

    def _own_name(self, parent: int, name: bytes, entry: Entry) -> None:
        if not self._single:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _make_link(self, parent: int, name: bytes, entry: Entry) -> None:
        target_parent, _, target = entry.link.rpartition(b"/")
        try:
            source = openat2(self._root, target_parent or b".", _DIRECTORY, _HOW)
            try:
                os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
        except (FileNotFoundError, NotADirectoryError):
            raise LayerError(
                f"unpack {show(entry.path)}: the target {show(entry.link)} of the hard link is not in the layer"
            ) from None

    def _failed(self, entry: Entry, error: OSError) -> LayerError | StoreError:
        name = f"unpack {show(entry.path)}"
        if error.errno == errno.EINVAL and (entry.uid or entry.gid):
            return LayerError(
                f"{name}: its owner {entry.uid}:{entry.gid} is outside the ids mapped for this user",
                hint="give the user a larger range: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST NAME",
            )
        if error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EIO,
            errno.EROFS,
            errno.EMFILE,
            errno.ENFILE,
            errno.ENOMEM,
            errno.EACCES,
        ):
            return StoreError(f"{name}: {error.strerror}")
        return LayerError(f"{name}: {error.strerror}")


def _allowed_xattr(key: str, value: bytes) -> bytes | None:
    """The value to set, or None: kept are file capabilities and users' own attributes, but none that overlayfs reads as orders."""
    if key == "security.capability":
        return _capability(value)
    if key.startswith("user.") and not key.startswith(("user.overlay.", "user.containers.")) and "\0" not in key:
        return value
    return None


def _capability(value: bytes) -> bytes | None:
    """capabilities(7), *File capability extended attribute versioning*: always version 2, which the kernel binds to the namespace at hand."""
    if len(value) not in (20, 24):
        return None
    magic: int = struct.unpack_from("<I", value)[0]
    if (magic & 0xFF000000, len(value)) not in ((0x02000000, 20), (0x03000000, 24)):
        return None
    return struct.pack("<I", 0x02000000 | magic & 1) + value[4:20]


def _set_xattr(fd: int, key: str, value: bytes) -> None:
    # A file system without attributes, or one that has no room for this one, does not make an image unusable.
    with suppress(OSError):
        os.setxattr(fd, key, value)
