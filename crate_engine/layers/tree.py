"""Directory trees as entries of an archive: a container's root as a whole, what an overlay's upper directory changed, or what differs in a copy.

The inverse of `unpack`: overlayfs's own forms (0:0 devices, the opaque attribute) become the image specification's whiteouts (image-spec layer.md),
owners kept in an attribute become owners again. Runs where the ids are mapped, through directory fds; nothing follows a link. Names are in
the order of their bytes, so that the same tree gives the same archive. Sockets are left out: no archive holds them.
"""

from __future__ import annotations

import os
import stat

from crate_engine.errors import LayerError, StoreError
from crate_engine.layers.entries import Action, Entry, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Member = tuple[Entry, int | None]
    """An entry, and of a file the fd with its content, which the consumer closes."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC
_OVERLAY = ("trusted.overlay.", "user.overlay.")
_NOT_WHOLE = tuple(prefix + name for prefix in _OVERLAY for name in ("redirect", "metacopy"))
_FUSE_OPAQUE = "user.fuseoverlayfs.opaque"
_OWNER = "user.containers.override_stat"
_INTERNAL = ("user.overlay.", "user.containers.", "user.fuseoverlayfs.")
_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"
_KINDS = {
    stat.S_IFREG: Action.FILE,
    stat.S_IFDIR: Action.DIRECTORY,
    stat.S_IFLNK: Action.SYMLINK,
    stat.S_IFCHR: Action.CHARACTER_DEVICE,
    stat.S_IFBLK: Action.BLOCK_DEVICE,
    stat.S_IFIFO: Action.FIFO,
}
_CHUNK = 1 << 20


class Tree:
    """Walks of one container's files; hard links among what a walk yields stay hard links."""

    def __init__(self, *, single: bool, names: bool = False) -> None:
        """`single`: only one id is mapped, and owners are kept in an attribute. `names`: whiteouts are files by their names (fuse-overlayfs)."""
        self._single = single
        self._names = names
        self._links: dict[tuple[int, int], bytes] = {}

    def merged(self, roots: list[str]) -> Iterator[Member]:
        """All of a stack of layers, the uppermost first, as overlayfs shows them; the root itself comes first."""
        fds = [os.open(path, _DIRECTORY) for path in roots]
        try:
            yield self._entry(fds[0], b"", os.fstat(fds[0])), None
            yield from self._merged(fds, b"")
        finally:
            _close(fds)

    def changes(self, upper: str, below: str, *, left_out: Collection[bytes]) -> Iterator[Member]:
        """What an overlay's upper directory says. `below` is the uppermost layer, whose root it was given the attributes of.

        `left_out` are paths of mount points, which are no change while they are empty.
        """
        root = os.open(upper, _DIRECTORY)
        try:
            if _ownership(os.fstat(root)) != _ownership(os.stat(below)):
                yield self._entry(root, b"", os.fstat(root)), None
            yield from self._changes(root, b"", left_out)
        finally:
            os.close(root)

    def differences(self, layers: list[str], root: str, *, left_out: Collection[bytes]) -> Iterator[Member]:
        """What differs between a stack of layers, the uppermost first, and the copy of it that a container has changed."""
        fds = [os.open(path, _DIRECTORY) for path in (*layers, root)]
        try:
            if _ownership(os.fstat(fds[-1])) != _ownership(os.fstat(fds[0])):
                yield self._entry(fds[-1], b"", os.fstat(fds[-1])), None
            yield from self._differences(fds[:-1], fds[-1], b"", left_out)
        finally:
            _close(fds)

    def _merged(self, layers: list[int], path: bytes) -> Iterator[Member]:
        for name, (parents, status) in sorted(_children(layers, names=self._names).items()):
            where = _join(path, name)
            if not stat.S_ISDIR(status.st_mode):
                yield from self._member(parents[0], name, where, status)
                continue
            fds = [os.open(name, _DIRECTORY, dir_fd=parent) for parent in parents]
            try:
                yield self._entry(fds[0], where, os.fstat(fds[0])), None
                yield from self._merged(fds, where)
            finally:
                _close(fds)

    def _changes(self, directory: int, path: bytes, left_out: Collection[bytes]) -> Iterator[Member]:
        for name in _names(directory):
            where = _join(path, name)
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if name.startswith(_WHITEOUT):
                if not self._names:
                    raise LayerError(f"pack {show(where)}: a layer cannot have a name that begins with .wh.")
                if name != _OPAQUE:
                    yield _mark(Action.WHITEOUT, _join(path, name.removeprefix(_WHITEOUT))), None
            elif _is_whiteout(status):
                yield _mark(Action.WHITEOUT, where), None
            elif stat.S_ISDIR(status.st_mode):
                fd = os.open(name, _DIRECTORY, dir_fd=directory)
                try:
                    if where in left_out and not os.listdir(fd):
                        continue
                    yield self._entry(fd, where, status), None
                    if _is_opaque(fd) or (self._names and _exists(_OPAQUE, fd)):
                        yield _mark(Action.OPAQUE, where), None
                    yield from self._changes(fd, where, left_out)
                finally:
                    os.close(fd)
            elif not (where in left_out and status.st_size == 0):
                yield from self._member(directory, name, where, status)

    def _differences(self, layers: list[int], directory: int, path: bytes, left_out: Collection[bytes]) -> Iterator[Member]:
        known = _children(layers, names=False) if layers else {}
        for name in _names(directory):
            where = _join(path, name)
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            parents, old = known.pop(name, ([], None))
            if name.startswith(_WHITEOUT):
                raise LayerError(f"pack {show(where)}: a layer cannot have a name that begins with .wh.")
            if not stat.S_ISDIR(status.st_mode):
                empty = where in left_out and status.st_size == 0
                if not empty and (old is None or not self._is_same(parents[0], directory, name, old, status)):
                    yield from self._member(directory, name, where, status)
                continue
            was_directory = old is not None and stat.S_ISDIR(old.st_mode)
            fds = [os.open(name, _DIRECTORY, dir_fd=parent) for parent in parents] if was_directory else []
            fd = os.open(name, _DIRECTORY, dir_fd=directory)
            try:
                if not fds and where in left_out and not os.listdir(fd):
                    continue
                if not fds or not self._is_alike(fds[0], fd):
                    yield self._entry(fd, where, status), None
                yield from self._differences(fds, fd, where, left_out)
            finally:
                _close([*fds, fd])
        for name in sorted(known):
            yield _mark(Action.WHITEOUT, _join(path, name)), None

    def _member(self, parent: int, name: bytes, path: bytes, status: os.stat_result) -> Iterator[Member]:
        """One entry that is no directory; none for a socket, and for what went away meanwhile."""
        action = _KINDS.get(stat.S_IFMT(status.st_mode))
        if action is None:
            return
        inode = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and inode in self._links:
            entry = _blank(Action.HARD_LINK, path, status)
            entry.link = self._links[inode]
            yield entry, None
            return
        if action is Action.FILE:
            fd = _open_file(parent, name)
            try:
                entry = self._entry(fd, path, os.fstat(fd))
            except BaseException:
                os.close(fd)
                raise
            yield entry, fd
        else:
            entry = _blank(action, path, status)
            if action is Action.SYMLINK:
                entry.link = os.readlink(name, dir_fd=parent)
                entry.mode = 0o777
            elif action is not Action.FIFO:
                entry.device = (os.major(status.st_rdev), os.minor(status.st_rdev))
            yield entry, None
        if status.st_nlink > 1:
            self._links[inode] = path

    def _entry(self, fd: int, path: bytes, status: os.stat_result) -> Entry:
        """Of an open file or directory."""
        entry = _blank(_KINDS[stat.S_IFMT(status.st_mode)], path, status)
        if entry.action is Action.FILE:
            entry.size = status.st_size
        for name in sorted(os.listxattr(fd)):
            if name in _NOT_WHOLE:
                raise StoreError(
                    f"pack {show(path)}: its overlay refers to another place for it ({name})",
                    hint="load overlay with redirect_dir=off and metacopy=off, and make the container anew",
                )
            if name == _OWNER and self._single:
                entry.uid, entry.gid = _kept_owner(os.getxattr(fd, name), entry)
            elif name == "security.capability" or (name.startswith("user.") and not name.startswith(_INTERNAL)):
                entry.xattrs[name] = os.getxattr(fd, name)
        return entry

    def _is_same(self, old_parent: int, new_parent: int, name: bytes, old: os.stat_result, new: os.stat_result) -> bool:
        """Down to the content: a program may change a file and set its time back."""
        if (stat.S_IFMT(old.st_mode), old.st_mtime_ns, old.st_rdev) != (stat.S_IFMT(new.st_mode), new.st_mtime_ns, new.st_rdev):
            return False
        if stat.S_ISLNK(new.st_mode):
            same_text = os.readlink(name, dir_fd=old_parent) == os.readlink(name, dir_fd=new_parent)
            return same_text and _ownership(old) == _ownership(new)
        if not stat.S_ISREG(new.st_mode):
            return _ownership(old) == _ownership(new)
        if old.st_size != new.st_size:
            return False
        before, after = _open_file(old_parent, name), _open_file(new_parent, name)
        try:
            return self._is_alike(before, after) and _same_content(before, after)
        finally:
            _close([before, after])

    def _is_alike(self, before: int, after: int) -> bool:
        """Owner, mode and attributes."""
        old, new = (self._entry(fd, b"", os.fstat(fd)) for fd in (before, after))
        return (old.uid, old.gid, old.mode, old.xattrs) == (new.uid, new.gid, new.mode, new.xattrs)


def _children(layers: list[int], *, names: bool) -> dict[bytes, tuple[list[int], os.stat_result]]:
    """What a stack of directories, the uppermost first, has together: by name the layers that take part, and the status in the first of them."""
    found: dict[bytes, tuple[list[int], os.stat_result]] = {}
    settled: set[bytes] = set()
    for layer in layers:
        hidden = set()
        for name in _names(layer):
            if names and name.startswith(_WHITEOUT):
                hidden.add(name.removeprefix(_WHITEOUT))
                continue
            if name in settled:
                continue
            status = os.stat(name, dir_fd=layer, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                found.setdefault(name, ([], status))[0].append(layer)
                if _is_opaque_at(layer, name, names=names):
                    settled.add(name)
                continue
            settled.add(name)
            if name not in found and not _is_whiteout(status):
                found[name] = ([layer], status)
        settled |= hidden
    return found


def _names(directory: int) -> list[bytes]:
    return sorted(os.fsencode(name) for name in os.listdir(directory))


def _join(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _exists(name: bytes, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_whiteout(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _is_opaque_at(parent: int, name: bytes, *, names: bool) -> bool:
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        return _is_opaque(fd) or (names and _exists(_OPAQUE, fd))
    finally:
        os.close(fd)


def _is_opaque(directory: int) -> bool:
    # The value `x` says something else: that it has whiteouts in the form of attributes.
    names = (*(prefix + "opaque" for prefix in _OVERLAY), _FUSE_OPAQUE)
    return any(name in names and os.getxattr(directory, name) == b"y" for name in os.listxattr(directory))


def _ownership(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def _blank(action: Action, path: bytes, status: os.stat_result) -> Entry:
    mode = stat.S_IMODE(status.st_mode)
    return Entry(action, path, b"", mode, status.st_uid, status.st_gid, 0, status.st_mtime_ns, (0, 0), {})


def _mark(action: Action, path: bytes) -> Entry:
    return Entry(action, path, b"", 0, 0, 0, 0, 0, (0, 0), {})


def _kept_owner(value: bytes, entry: Entry) -> tuple[int, int]:
    uid, _, rest = value.partition(b":")
    gid = rest.partition(b":")[0]
    if uid.isdigit() and gid.isdigit() and len(uid) < 11 and len(gid) < 11:
        return int(uid), int(gid)
    return entry.uid, entry.gid


def _open_file(parent: int, name: bytes) -> int:
    try:
        return os.open(name, _FILE, dir_fd=parent)
    except PermissionError:
        return os.open(name, _FILE & ~os.O_NOATIME, dir_fd=parent)  # O_NOATIME is for the owner alone


def _same_content(before: int, after: int) -> bool:
    while True:
        old, new = os.read(before, _CHUNK), os.read(after, _CHUNK)
        if old != new:
            return False
        if not old:
            return True


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
