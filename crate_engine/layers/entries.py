"""Tar archives of layers read as a stream of actions (pax(1) interchange formats, GNU tar's extensions; image-spec layer.md for whiteouts).

Pure: it only reads from the stream it is given. Sparse members, unknown types and anything malformed raise LayerError.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, auto

from crate_engine import limits
from crate_engine.errors import LayerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Stream(Protocol):
        def take(self, count: int) -> bytes:
            """Exactly `count` bytes, or fewer at the end of the stream."""


BLOCK = 512
_ZEROS = bytes(BLOCK)
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_POSIX = b"ustar\x0000"  # GNU tar writes "ustar  " and uses the prefix for other things
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."
_INT64 = 2**63
_XATTR = "SCHILY.xattr."


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
    follow in the stream, whatever the action: the consumer takes them.
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


def padding(size: int) -> int:
    """Bytes between the end of a member and the next block."""
    return -size % BLOCK


def read(stream: Stream) -> Iterator[Entry]:
    """The archive's entries in order, up to its end mark, or its end at a block's boundary; the caller checks what follows."""
    extended: dict[str, bytes] = {}
    count = 0
    while header := _next_header(stream):
        count += 1
        if count > limits.LAYER_ENTRIES:
            raise LayerError(f"read layer: it has more than {limits.LAYER_ENTRIES} entries")
        kind = header[156:157]
        if kind in b"xLKg":
            extended |= _extension(kind, header, stream)
            continue
        yield _entry(header, extended)
        extended = {}
    if extended:
        raise LayerError("read layer: it ends after an extended header")


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
    return block


def _extension(kind: bytes, header: bytes, stream: Stream) -> dict[str, bytes]:
    """The records of a pax header, or a long name of GNU tar's in the form of one."""
    size = _checked_size(header)
    if size > limits.HEADER_BYTES:
        raise LayerError(f"read layer: an extended header of {size} bytes is larger than the {limits.HEADER_BYTES} allowed")
    content = stream.take(size + padding(size))
    if len(content) < size + padding(size):
        raise LayerError("read layer: it ends in the middle of an extended header")
    content = content[:size]
    if kind == b"x":
        return _pax_records(content)
    if kind == b"g":
        _pax_records(content)  # for the whole archive: git writes a comment here; other engines ignore it as well
        return {}
    return {"path" if kind == b"L" else "linkpath": content.partition(b"\0")[0]}


def _pax_records(content: bytes) -> dict[str, bytes]:
    """`<length> <key>=<value>\\n`, the length counting itself."""
    records = {}
    at = 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        digits = content[at:space] if space > at else b""
        length = int(digits) if digits.isdigit() else 0
        end = at + length
        if not length or end > len(content) or content[end - 1 : end] != b"\n" or end <= space + 1:
            raise LayerError("read layer: a pax record has a wrong length")
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise LayerError("read layer: a pax record has no key")
        records[key.decode("utf-8", "surrogateescape")] = value
        at = end
    return records


def _entry(header: bytes, extended: dict[str, bytes]) -> Entry:
    name, mode, uid, gid, size, mtime, _, kind, link, magic, _, _, major, minor, prefix = _FIELDS.unpack(header)
    _check_sum(header)
    action = _action(kind, extended)
    full = _text(name)
    if magic == _POSIX and (front := _text(prefix)):
        full = front + b"/" + full
    full = extended.get("path", full)
    if action is Action.FILE and full.endswith(b"/"):
        action = Action.DIRECTORY  # how archives before 1988 wrote one
    path = clean(full)
    length = _number_of(extended, "size", size)
    if not 0 <= length < min(_INT64, limits.LAYER_BYTES):
        raise LayerError(f"read layer: {show(path)} has the size {length}")
    entry = Entry(
        action=action,
        path=path,
        link=extended.get("linkpath", _text(link)),
        mode=_number(mode) & 0o7777,
        uid=_id(_number_of(extended, "uid", uid), path),
        gid=_id(_number_of(extended, "gid", gid), path),
        size=length if action is Action.FILE else 0,  # others have no content, whatever the field says
        mtime_ns=_time(extended, mtime),
        device=(0, 0),
        xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)},
    )
    if action in (Action.CHARACTER_DEVICE, Action.BLOCK_DEVICE):
        entry.device = (_number(major) & 0xFFFFFFFF, _number(minor) & 0xFFFFFFFF)
    return _checked(entry)


def _action(kind: bytes, extended: dict[str, bytes]) -> Action:
    if kind == b"S" or any(key.startswith("GNU.sparse.") for key in extended):
        raise LayerError("read layer: sparse archive members are not supported", hint="build the image without tar's --sparse")
    try:
        return _TYPES[kind]
    except KeyError:
        raise LayerError(f"read layer: the entry type {kind!r} is unknown") from None


def _checked(entry: Entry) -> Entry:
    if not entry.path and entry.action is not Action.DIRECTORY:
        raise LayerError("read layer: its root is no directory")
    if entry.action is Action.SYMLINK and (not entry.link or len(entry.link) > limits.PATH_BYTES or b"\0" in entry.link):
        raise LayerError(f"read layer: {show(entry.path)} is a symbolic link to nothing, or to too long a path")
    if entry.action is Action.HARD_LINK:
        entry.link = clean(entry.link)
        if not entry.link:
            raise LayerError(f"read layer: {show(entry.path)} is a hard link to the root")
    if sum(len(key) + len(value) for key, value in entry.xattrs.items()) > limits.XATTR_BYTES:
        raise LayerError(f"read layer: {show(entry.path)} has more than {limits.XATTR_BYTES} bytes of extended attributes")
    return _whiteout(entry)


def _whiteout(entry: Entry) -> Entry:
    parent, _, base = entry.path.rpartition(b"/")
    if any(component.startswith(_WHITEOUT) for component in parent.split(b"/")):
        raise LayerError(f"read layer: {show(entry.path)} is inside a whiteout")
    if not base.startswith(_WHITEOUT):
        return entry
    if base == _OPAQUE:
        entry.action, entry.path = Action.OPAQUE, parent
    elif base.startswith(_AUFS):
        entry.action = Action.NOTHING
    else:
        hidden = base.removeprefix(_WHITEOUT)
        if hidden in (b"", b".", b".."):
            raise LayerError(f"read layer: the whiteout {show(entry.path)} names nothing")
        entry.action, entry.path = Action.WHITEOUT, (parent + b"/" if parent else b"") + hidden
    return entry


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


def _checked_size(header: bytes) -> int:
    _check_sum(header)
    size = _number(header[124:136])
    if size < 0:
        raise LayerError("read layer: an extended header has a negative size")
    return size


def _check_sum(header: bytes) -> None:
    stated = _number(header[148:156])
    others = header[:148] + b" " * 8 + header[156:]
    # Some early programs added up signed characters.
    if stated != sum(others) and stated != sum(others) - 256 * sum(byte > 127 for byte in others):
        raise LayerError("read layer: a header has a wrong checksum")


def _number(field: bytes) -> int:
    """Octal digits between spaces and NULs, or GNU tar's base-256 for what does not fit."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise LayerError(f"read layer: {digits!r} in a header is no octal number")
    return int(digits, 8)


def _number_of(extended: dict[str, bytes], key: str, field: bytes) -> int:
    if key not in extended:
        return _number(field)
    text = extended[key]
    if not text.isdigit() or len(text) > 20:
        raise LayerError(f"read layer: the pax record {key} is {text[:32]!r}, no number")
    return int(text)


def _id(value: int, path: bytes) -> int:
    # The largest value means "leave as it is" to chown(2).
    if not 0 <= value < 2**32 - 1:
        raise LayerError(f"read layer: {show(path)} belongs to the id {value}, which does not exist")
    return value


def _time(extended: dict[str, bytes], field: bytes) -> int:
    """Nanoseconds since 1970; what utimensat(2) cannot take is brought to the nearest value that it can."""
    text = extended.get("mtime")
    if text is None:
        nanoseconds = _number(field) * 10**9
    else:
        whole, _, fraction = text.removeprefix(b"-").partition(b".")
        if not whole.isdigit() or len(whole) > 20 or (fraction and not fraction.isdigit()):
            raise LayerError(f"read layer: the pax record mtime is {text[:32]!r}, no time")
        nanoseconds = int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))
        nanoseconds = -nanoseconds if text.startswith(b"-") else nanoseconds
    return max(-_INT64, min(nanoseconds, _INT64 - 1))


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]
