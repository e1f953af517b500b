"""One layer's entries made real below a directory fd, in the form that overlayfs stacks (overlayfs.rst, image-spec layer.md).

Every entry's parent is resolved by openat2(2) inside the root, and the last component is only touched by *at calls that do not follow
links. Directories get their attributes at the end. Knows nothing of tar or of compression.
"""

from __future__ import annotations

import errno
import os
import stat

from crate_engine import limits
from crate_engine.errors import LayerError, StoreError
from crate_engine.layers.attributes import OWNER_XATTR, Ownership, set_node_mode
from crate_engine.layers.copy import is_opaque
from crate_engine.layers.directories import Directory, DirectoryLog
from crate_engine.layers.entries import Action, Entry, show
from crate_engine.store import durable
from crate_engine.system.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OWNER_XATTR", "Unpacker"]

_HOW = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_PARENTS = 64
_REMEMBERED = 4096
_VISITS = 4
_NODES = {Action.FIFO: stat.S_IFIFO, Action.CHARACTER_DEVICE: stat.S_IFCHR, Action.BLOCK_DEVICE: stat.S_IFBLK}
_OF_THE_HOST = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EFBIG}
)


class Unpacker:
    """Applies the entries of one layer. `root` is an fd of an empty directory, kept by the caller.

    `mode` is the user namespace's: *root* makes devices and marks opaque directories with trusted.overlay.opaque; in *range* and *single*
    devices are left out, as they could not be made, and the mark is user.overlay.opaque. *single* keeps foreign owners in an attribute.
    The umask of the process must be 0.
    """

    def __init__(self, root: int, mode: str) -> None:
        self._root = root
        self._devices = mode == "root"
        self._opaque = "trusted.overlay.opaque" if mode == "root" else "user.overlay.opaque"
        self._ownership = Ownership(root, single=mode == "single")
        self._directories = DirectoryLog(root)
        self._directories.add(_implied(b""))
        self._implied = 0
        self._applied = 0
        self._marks = self._hidden = self._visited = 0
        self._late_mark = False
        self.implied: dict[bytes, None] = {}
        self._left_out: set[bytes] = set()
        # Parents by path, as resolved now: whatever removes something empties it, for a link may have led through that.
        self._parents: dict[bytes, int] = {}
        self._retired: list[int] = []

    def apply(self, entry: Entry, content: Callable[[int, int], None]) -> None:
        """Make the entry; `content(fd, size)` writes a file's bytes where the fd stands. Raises LayerError or StoreError, naming the entry."""
        self._applied += 1
        if self._retired or len(self._parents) > _OPEN_PARENTS:
            self._close_parents()
        try:
            self._apply(entry, content)
        except OSError as error:
            raise _failed(entry, error) from error

    def finish(self) -> None:
        """Give directories their owners, modes and times: before, making what is in them would have changed these.

        Then `implied` has the directories that the archive has no entries of their own for.
        """
        for wanted in self._directories.read():
            try:
                fd = openat2(self._root, wanted.path or b".", _DIRECTORY | os.O_NOFOLLOW, _HOW)
                try:
                    if self._late_mark and self._is_inside_opaque(wanted.path):
                        self._drop_whiteouts(fd)
                    self._ownership.set_directory(fd, wanted, cleared=self._directories.has_xattrs)
                finally:
                    os.close(fd)
                self._note_implied(wanted)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry took its place
            except OSError as error:
                raise _failed(wanted, error) from error
        self.close()

    def _note_implied(self, directory: Directory) -> None:
        if not directory.implied:
            self.implied.pop(directory.path, None)
        elif len(self.implied) < _REMEMBERED:
            self.implied[directory.path] = None

    def close(self) -> None:
        self._close_parents()
        self._directories.close()

    def _apply(self, entry: Entry, content: Callable[[int, int], None]) -> None:
        action = entry.action
        if action is Action.NOTHING:
            return
        if action is Action.OPAQUE:
            self._mark_opaque(self._parent(entry.path), entry.path)
            return
        parent_path, _, name = entry.path.rpartition(b"/")
        parent = self._parent(parent_path)
        if action is Action.DIRECTORY:
            self._make_directory(parent, name, entry)
        elif action is Action.WHITEOUT:
            self._make_whiteout(parent, name, entry.path)
        else:
            try:
                self._make(parent, name, entry, content)
            except FileExistsError:
                self._clear(parent, name, entry.path)
                self._make(parent, name, entry, content)

    def _make(self, parent: int, name: bytes, entry: Entry, content: Callable[[int, int], None]) -> None:
        """Raises FileExistsError before anything was made or read."""
        action = entry.action
        if action is Action.FILE:
            self._make_file(parent, name, entry, content)
        elif action is Action.SYMLINK:
            os.symlink(entry.link, name, dir_fd=parent)
            self._ownership.set_name(parent, name, entry)
        elif action is Action.HARD_LINK:
            self._make_link(parent, name, entry)
        else:
            self._make_node(parent, name, entry, _NODES[action])

    # directories

    def _parent(self, path: bytes) -> int:
        """An fd of the directory at `path`, made when missing; good until the next entry."""
        if not path:
            return self._root
        fd = self._parents.get(path)
        if fd is None:
            fd = self._parents[path] = self._open_or_make(path)
        return fd

    def _open_or_make(self, path: bytes) -> int:
        """The archive may have no entries of their own for directories above its files."""
        missing = []
        while path:
            try:
                fd = openat2(self._root, path, _DIRECTORY, _HOW)
                break
            except (FileNotFoundError, NotADirectoryError):
                missing.append(path)
                path = path.rpartition(b"/")[0]
        else:
            fd = os.dup(self._root)
        for path in reversed(missing):
            name = path.rpartition(b"/")[2]
            try:
                self._make_implied(fd, name, path)
                below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _make_implied(self, parent: int, name: bytes, path: bytes) -> None:
        self._implied += 1
        if self._implied > limits.LAYER_ENTRIES:
            raise LayerError(f"unpack layer: it implies more than {limits.LAYER_ENTRIES} directories")
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            if not _is_whiteout(parent, name):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            self._replace_by_directory(parent, name, path)
        self._directories.add(_implied(path))

    def _make_directory(self, parent: int, name: bytes, entry: Entry) -> None:
        if name:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    self._replace_by_directory(parent, name, entry.path)
        self._directories.add(Directory(entry.path, entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs))

    def _replace_by_directory(self, parent: int, name: bytes, path: bytes) -> None:
        self._clear(parent, name, path)
        os.mkdir(name, 0o755, dir_fd=parent)
        self._mark_opaque_at(parent, name, path)  # what it replaced had already hidden the directory of the layers below

    def _mark_opaque_at(self, parent: int, name: bytes, path: bytes) -> None:
        fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            self._mark_opaque(fd, path)
        finally:
            os.close(fd)

    def _mark_opaque(self, directory: int, path: bytes) -> None:
        self._marks += 1
        self._late_mark = self._late_mark or self._hidden > 0
        try:
            os.setxattr(directory, self._opaque, b"y")
        except OSError as error:
            hint = "the store needs a file system with user extended attributes: ext4, xfs, btrfs, or tmpfs since Linux 6.6"
            raise StoreError(f"unpack {show(path)}: set {self._opaque}: {error.strerror}", hint=hint) from error

    def _make_whiteout(self, parent: int, name: bytes, path: bytes) -> None:
        """Only what lies below is hidden: an entry of this layer stays, and a directory of this layer starts out empty."""
        try:
            # Where nothing lies below overlayfs does not look for whiteouts, and would list their names.
            if self._marks and self._is_inside_opaque(path.rpartition(b"/")[0]):
                os.stat(name, dir_fd=parent, follow_symlinks=False)
                raise FileExistsError
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=parent)
            self._hidden += 1
        except FileNotFoundError:
            return
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                self._mark_opaque_at(parent, name, path)

    def _is_inside_opaque(self, path: bytes) -> bool:
        """Whether the directory, or one above it, hides all of the layers below."""
        while True:
            fd = openat2(self._root, path or b".", _DIRECTORY, _HOW)
            try:
                if is_opaque(fd):
                    return True
            finally:
                os.close(fd)
            if not path:
                return False
            path = path.rpartition(b"/")[0]

    def _drop_whiteouts(self, directory: int) -> None:
        """Those that came before their directory, or one above it, was said to be opaque."""
        with os.scandir(directory) as found:
            for one in found:
                self._visited += 1
                if self._visited > _VISITS * (self._applied + self._implied):
                    raise LayerError("unpack layer: its directories come too often")  # each time all that is in them is looked at
                name = os.fsencode(one.name)
                if not (one.is_file(follow_symlinks=False) or one.is_dir(follow_symlinks=False)) and _is_whiteout(
                    directory, name
                ):
                    os.unlink(name, dir_fd=directory)

    def _clear(self, parent: int, name: bytes, path: bytes) -> None:
        """Of several entries with one name the last one counts."""
        self._retired += self._parents.values()  # `parent` is one of them
        self._parents.clear()
        durable.remove_at(parent, name, shown=show(path))

    def _close_parents(self) -> None:
        for fd in (*self._retired, *self._parents.values()):
            os.close(fd)
        self._retired.clear()
        self._parents.clear()

    # everything else

    def _make_file(self, parent: int, name: bytes, entry: Entry, content: Callable[[int, int], None]) -> None:
        mode = entry.mode & 0o777
        fd = os.open(name, _NEW_FILE, mode, dir_fd=parent)
        try:
            if entry.sparse:
                for offset, length in entry.sparse.pieces:
                    os.lseek(fd, offset, os.SEEK_SET)
                    content(fd, length)
                os.ftruncate(fd, entry.sparse.size)
            elif entry.size:
                content(fd, entry.size)
            self._ownership.set(fd, entry, mode)
        finally:
            os.close(fd)

    def _make_node(self, parent: int, name: bytes, entry: Entry, kind: int) -> None:
        # 0:0 is overlayfs's own mark of a removed entry and may not come from an archive.
        if kind != stat.S_IFIFO and (not self._devices or entry.device == (0, 0)):
            self._leave_out(entry.path)
            return
        os.mknod(name, kind | entry.mode, os.makedev(*entry.device), dir_fd=parent)
        self._ownership.set_name(parent, name, entry)
        if entry.mode & 0o6000:
            set_node_mode(parent, name, entry.mode)

    def _leave_out(self, path: bytes) -> None:
        """Hard links to a device that is not made are not made either; more than a few are not remembered."""
        if len(self._left_out) < _REMEMBERED:
            self._left_out.add(path)

    def _make_link(self, parent: int, name: bytes, entry: Entry) -> None:
        if entry.link in self._left_out:
            self._leave_out(entry.path)
            return
        target_parent, _, target = entry.link.rpartition(b"/")
        try:
            source = self._existing(target_parent)
            if _is_whiteout(source, target):
                raise FileNotFoundError
            os.link(target, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            raise LayerError(
                f"unpack {show(entry.path)}: the target {show(entry.link)} of the hard link is not in the layer"
            ) from None

    def _existing(self, path: bytes) -> int:
        """Like `_parent`, but nothing is made."""
        if not path:
            return self._root
        fd = self._parents.get(path)
        if fd is None:
            fd = self._parents[path] = openat2(self._root, path, _DIRECTORY, _HOW)
        return fd


def _implied(path: bytes) -> Directory:
    return Directory(path, 0o755, 0, 0, 0, {}, implied=True)


def _is_whiteout(parent: int, name: bytes) -> bool:
    """An archive cannot bring one as a device."""
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _failed(entry: Entry | Directory, error: OSError) -> LayerError | StoreError:
    name = f"unpack {show(entry.path)}"
    if error.errno == errno.EINVAL and (entry.uid or entry.gid):
        return LayerError(
            f"{name}: its owner {entry.uid}:{entry.gid} is outside the ids mapped for this user",
            hint="give the user a larger range: usermod --add-subuids FIRST-LAST --add-subgids FIRST-LAST NAME",
        )
    text = os.strerror(error.errno) if error.errno else str(error)
    return StoreError(f"{name}: {text}") if error.errno in _OF_THE_HOST else LayerError(f"{name}: {text}")
