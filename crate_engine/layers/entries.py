"""Tar archives of layers read as a stream of actions (pax(1) interchange formats, GNU tar's extensions; image-spec layer.md for whiteouts).

Pure: it only reads from the stream it is given. Unknown types and anything malformed raise LayerError. What global pax headers
say is not applied, as other engines do not either.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

from crate_engine import limits
from crate_engine.errors import LayerError
from crate_engine.layers import sparse, tar_fields
from crate_engine.layers.sparse import Sparse
from crate_engine.layers.tar_fields import BLOCK, number, padding, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Stream(Protocol):
        def take(self, count: int) -> bytes:
            """Exactly `count` bytes, or fewer at the end of the stream."""


__all__ = ["Action", "Entry", "clean", "padding", "read", "show"]

_ZEROS = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8xc100s6s2x32x32x8s8s155s12x")
_POSIX = b"ustar\0"  # GNU tar writes "ustar  " and uses the prefix for other things
_STAR, _STAR_PREFIX = b"tar\0", 131  # Schilling's tar ends its headers so, and has times behind a shorter prefix
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_XATTR = "SCHILY.xattr."
_HEADERS_PER_ENTRY = 4


class Action(Enum):
    """What the file system is to do about an entry."""

    FILE = auto()
    DIRECTORY = auto()
    SYMLINK = auto()
    HARD_LINK = auto()
    CHARACTER_DEVICE = auto()
    BLOCK_DEVICE = auto()
    FIFO = auto()
    WHITEOUT = auto()
    """The entry of this name in the layers below does not exist."""
    OPAQUE = auto()
    """The directory at `path` hides the same directory of the layers below."""
    NOTHING = auto()
    """A mark of another union file system that has no meaning here."""


_TYPES = {
    b"0": Action.FILE,
    b"\0": Action.FILE,
    b"7": Action.FILE,  # contiguous: a hint for tapes
    b"S": Action.FILE,  # with holes
    b"1": Action.HARD_LINK,
    b"2": Action.SYMLINK,
    b"3": Action.CHARACTER_DEVICE,
    b"4": Action.BLOCK_DEVICE,
    b"5": Action.DIRECTORY,
    b"6": Action.FIFO,
}


@dataclass(slots=True)
class Entry:
    """`path` and a hard link's `link` are made of clean components, relative to the layer's root; the root itself is b"".

    `link` of a symbolic link is its text as it stands. `size` bytes and padding
    follow in the stream, whatever the action: the consumer takes them. Of a file
    with holes they are its pieces one after the other.
    """

    action: Action
    path: bytes
    link: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    device: tuple[int, int]
    xattrs: dict[str, bytes]
    sparse: Sparse | None = None


def read(stream: Stream) -> Iterator[Entry]:
    """The archive's entries in order, up to its end mark, or its end at a block's boundary; the caller checks what follows."""
    extensions: dict[bytes, dict[str, bytes]] = {}
    count = headers = holes = 0
    while header := _next_header(stream):
        kind = header[156:157]
        headers += 1
        if kind in b"xLKg":
            extensions[kind] = _extension(kind, header, stream)  # instead of an earlier one: their number is not limited
            if headers > _HEADERS_PER_ENTRY * limits.LAYER_ENTRIES:
                raise LayerError(f"read layer: it has more than {_HEADERS_PER_ENTRY * limits.LAYER_ENTRIES} headers")
            continue
        count += 1
        if count > limits.LAYER_ENTRIES:
            raise LayerError(f"read layer: it has more than {limits.LAYER_ENTRIES} entries")
        entry = _entry(header, _merged(extensions) if extensions else {}, stream)
        if entry.sparse:
            # Holes cost nothing here, but whoever copies or packs the tree reads them.
            holes += entry.sparse.size
            if holes > limits.LAYER_BYTES:
                raise LayerError(f"read layer: its files with holes have more than {limits.LAYER_BYTES} bytes")
        yield entry
        extensions = {}
    extensions.pop(b"g", None)
    if extensions:
        raise LayerError("read layer: it ends after an extended header")


def _merged(extensions: dict[bytes, dict[str, bytes]]) -> dict[str, bytes]:
    """GNU tar's long names win: whoever writes them beside pax records means them for the same entry."""
    return {key: value for kind in (b"x", b"L", b"K") for key, value in extensions.get(kind, {}).items()}


def _next_header(stream: Stream) -> bytes | None:
    block = stream.take(BLOCK)
    if not block:
        return None
    if block == _ZEROS:
        following = stream.take(BLOCK)
        if following in (b"", _ZEROS):
            return None
        raise LayerError("read layer: there is a lone block of zeros")
    if len(block) < BLOCK:
        raise LayerError("read layer: it ends in the middle of a header")
    tar_fields.check_sum(block)
    return block


def _extension(kind: bytes, header: bytes, stream: Stream) -> dict[str, bytes]:
    """The records of a pax header, or a long name of GNU tar's in the form of one."""
    size = number(header[124:136])
    if not 0 <= size <= limits.HEADER_BYTES:
        raise LayerError(f"read layer: an extended header of {size} bytes is not one of at most {limits.HEADER_BYTES}")
    content = stream.take(size + padding(size))
    if len(content) < size + padding(size):
        raise LayerError("read layer: it ends in the middle of an extended header")
    content = content[:size]
    if kind == b"x":
        return sparse.fold(tar_fields.pax_records(content))
    if kind == b"g":
        tar_fields.pax_records(content)  # for the whole archive: git writes a comment here; other engines ignore it as well
        return {}
    return {"path" if kind == b"L" else "linkpath": text(content)}


def _entry(header: bytes, extended: dict[str, bytes], stream: Stream) -> Entry:
    _, mode, uid, gid, size, mtime, kind, link, _, major, minor, _ = _FIELDS.unpack(header)
    full = _name(header, extended)
    action = _action(kind, full)
    path = clean(full)
    length = tar_fields.decimal(extended["size"], "size") if "size" in extended else number(size)
    if not 0 <= length < limits.LAYER_BYTES:
        raise LayerError(f"read layer: {show(path)} has the size {length}")
    entry = Entry(
        action=action,
        path=path,
        link=extended.get("linkpath") or text(link),
        mode=number(mode) & 0o7777,
        uid=_id("uid", uid, extended, path),
        gid=_id("gid", gid, extended, path),
        size=length if action is Action.FILE else 0,  # others have no content, whatever the field says
        mtime_ns=_time(extended, mtime),
        device=(0, 0),
        xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)} if extended else {},
    )
    if action in (Action.CHARACTER_DEVICE, Action.BLOCK_DEVICE):
        entry.device = (number(major), number(minor))
        if not (0 <= entry.device[0] < 1 << 12 and 0 <= entry.device[1] < 1 << 20):  # what Linux has
            raise LayerError(
                f"read layer: {show(path)} is a device of number {entry.device[0]}:{entry.device[1]}, which cannot be"
            )
    _checked(entry)
    if action is Action.FILE and (kind == b"S" or extended):
        _find_holes(entry, kind, header, extended, stream)
    return entry


def _name(header: bytes, extended: dict[str, bytes]) -> bytes:
    name = (sparse.name_of(extended) or extended.get("path")) if extended else None
    if name is not None:
        return name
    name = text(header[:100])
    if header[257:263] == _POSIX:
        prefix = header[345:500] if header[508:] != _STAR else header[345 : 345 + _STAR_PREFIX]
        if front := text(prefix):
            return front + b"/" + name
    return name


def _action(kind: bytes, name: bytes) -> Action:
    if kind == b"\0" and name.endswith(b"/"):
        return Action.DIRECTORY  # how archives before 1988 wrote one
    try:
        return _TYPES[kind]
    except KeyError:
        raise LayerError(f"read layer: the entry type {kind!r} is unknown") from None


def _find_holes(entry: Entry, kind: bytes, header: bytes, extended: dict[str, bytes], stream: Stream) -> None:
    if kind == b"S":
        entry.sparse = sparse.of_old_header(header, stream)
    elif found := sparse.of_records(extended, entry.size, stream):
        entry.sparse, entry.size = found
    if entry.sparse and sum(length for _, length in entry.sparse.pieces) != entry.size:
        raise LayerError(f"read layer: the pieces of {show(entry.path)} are not as long as what is stored of it")


def _checked(entry: Entry) -> None:
    if not entry.path and entry.action is not Action.DIRECTORY:
        raise LayerError("read layer: its root is no directory")
    if entry.action is Action.SYMLINK and (not entry.link or len(entry.link) > limits.PATH_BYTES or b"\0" in entry.link):
        raise LayerError(f"read layer: {show(entry.path)} is a symbolic link to nothing, or to too long a path")
    if entry.action is Action.HARD_LINK:
        entry.link = clean(entry.link)
        if not entry.link:
            raise LayerError(f"read layer: {show(entry.path)} is a hard link to the root")
    if entry.xattrs and sum(len(key) + len(value) for key, value in entry.xattrs.items()) > limits.XATTR_BYTES:
        raise LayerError(f"read layer: {show(entry.path)} has more than {limits.XATTR_BYTES} bytes of extended attributes")
    if _WHITEOUT in entry.path:
        _whiteout(entry)


def _whiteout(entry: Entry) -> None:
    parent, _, base = entry.path.rpartition(b"/")
    if any(component.startswith(_WHITEOUT) for component in parent.split(b"/")):
        raise LayerError(f"read layer: {show(entry.path)} is inside a whiteout")
    if not base.startswith(_WHITEOUT):
        return
    if base == _OPAQUE:
        entry.action, entry.path = Action.OPAQUE, parent
    elif base.startswith(_AUFS):
        entry.action = Action.NOTHING
    else:
        hidden = base.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise LayerError(f"read layer: the whiteout {show(entry.path)} names nothing")
        entry.action, entry.path = Action.WHITEOUT, (parent + b"/" if parent else b"") + hidden


def clean(name: bytes) -> bytes:
    """The path inside the root that a name means, read as if the root were `/`: `..` does not lead out of it."""
    if b"\0" in name:
        raise LayerError(f"read layer: the name {show(name)} contains NUL")
    components: list[bytes] = []
    for component in name.split(b"/"):
        if component in (b"", b"."):
            continue
        if component == b"..":
            components[-1:] = []
            continue
        if len(component) > limits.NAME_BYTES:
            raise LayerError(f"read layer: a name in {show(name)} is longer than {limits.NAME_BYTES} bytes")
        components.append(component)
    path = b"/".join(components)
    if len(path) > limits.PATH_BYTES or len(components) > limits.LAYER_DEPTH:
        raise LayerError(
            f"read layer: the path {show(name)} is longer than {limits.PATH_BYTES} bytes or {limits.LAYER_DEPTH} directories"
        )
    return path


def show(path: bytes) -> str:
    """A path for messages: escaped, and not endless."""
    text = path.decode("utf-8", "backslashreplace")[:200]
    return "/" + "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text.lstrip("/"))


def _id(key: str, field: bytes, extended: dict[str, bytes], path: bytes) -> int:
    value = tar_fields.decimal(extended[key], key) if key in extended else number(field)
    # The largest value means "leave as it is" to chown(2).
    if not 0 <= value < 2**32 - 1:
        raise LayerError(f"read layer: {show(path)} belongs to the id {value}, which does not exist")
    return value


def _time(extended: dict[str, bytes], field: bytes) -> int:
    moment = extended.get("mtime")
    return tar_fields.to_kernel_time(number(field) * 10**9 if moment is None else tar_fields.nanoseconds(moment))
