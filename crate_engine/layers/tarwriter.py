"""Entries as a tar archive (pax(1) interchange format): the counterpart of `entries`, which reads back exactly what is written here.

Pure. What fits is a ustar header alone; long names, large numbers, fractions of seconds and extended attributes get a pax header before it.
The bytes depend on the entry only, so that the same tree makes the same layer. Not here: sparse members, names of users and groups.
"""

from __future__ import annotations

from crate_engine.layers.entries import Action, padding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.layers.entries import Entry

BLOCK = 512
END = bytes(2 * BLOCK)
"""Two blocks of zeros end an archive."""
_NAME, _PREFIX, _LINK = 100, 155, 100
_TYPES = {
    Action.FILE: b"0",
    Action.HARD_LINK: b"1",
    Action.SYMLINK: b"2",
    Action.CHARACTER_DEVICE: b"3",
    Action.BLOCK_DEVICE: b"4",
    Action.DIRECTORY: b"5",
    Action.FIFO: b"6",
    Action.WHITEOUT: b"0",
    Action.OPAQUE: b"0",
}
_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"


def member(entry: Entry) -> bytes:
    """The entry's header blocks. A file's `size` bytes follow, then `padding(size)` zeros. A whiteout is an empty file, as image-spec layer.md has it."""
    records: dict[bytes, bytes] = {}
    name = _name(entry)
    front, back = _split(name)
    if back is None:
        records[b"path"] = name
        front, back = b"", _cut(name, _NAME)
    link = entry.link
    if len(link) > _LINK:
        records[b"linkpath"] = link
        link = link[:_LINK]
    # A reader takes the numbers of a pax record over those of the header, which hold what fits.
    numbers = {b"uid": (entry.uid, 7), b"gid": (entry.gid, 7), b"size": (entry.size, 11)}
    for key, (value, digits) in numbers.items():
        if value >= 8**digits:
            records[key] = b"%d" % value
    seconds, fraction = divmod(entry.mtime_ns, 10**9)
    if fraction or not 0 <= seconds < 8**11:
        records[b"mtime"] = _time(entry.mtime_ns)
    for attribute, content in entry.xattrs.items():
        records[b"SCHILY.xattr." + attribute.encode("utf-8", "surrogateescape")] = content
    fields = [
        back.ljust(_NAME, b"\0"),
        _octal(entry.mode, 7),
        _octal(entry.uid, 7),
        _octal(entry.gid, 7),
        _octal(entry.size, 11),
        _octal(min(max(seconds, 0), 8**11 - 1), 11),
    ]
    tail = [link.ljust(_LINK, b"\0"), b"ustar\x0000", bytes(64), *_device(entry.device), front.ljust(_PREFIX, b"\0")]
    return _extended(records, name) + _summed(fields, _TYPES[entry.action], tail)


def _name(entry: Entry) -> bytes:
    path = entry.path
    if entry.action is Action.WHITEOUT:
        parent, slash, base = path.rpartition(b"/")
        return parent + slash + _WHITEOUT + base
    if entry.action is Action.OPAQUE:
        return path + b"/" + _OPAQUE if path else _OPAQUE
    if entry.action is Action.DIRECTORY:
        return path + b"/" if path else b"./"
    return path


def _split(name: bytes) -> tuple[bytes, bytes | None]:
    """A name over the header's two fields; None: it does not fit, or only together with what programs read in different ways."""
    if len(name) <= _NAME:
        return b"", name
    cut = name.rfind(b"/", 0, min(_PREFIX, len(name) - 1) + 1)
    if cut <= 0 or not 0 < len(name) - cut - 1 <= _NAME:
        return b"", None
    return name[:cut], name[cut + 1 :]


def _cut(name: bytes, length: int) -> bytes:
    return name.rstrip(b"/")[:length]


def _extended(records: dict[bytes, bytes], name: bytes) -> bytes:
    if not records:
        return b""
    content = b"".join(_record(key, records[key]) for key in sorted(records))
    base = name.rstrip(b"/").rpartition(b"/")[2] or b"root"
    fields = [
        _cut(b"PaxHeaders.0/" + base, _NAME).ljust(_NAME, b"\0"),
        _octal(0o644, 7),
        _octal(0, 7),
        _octal(0, 7),
        _octal(len(content), 11),
        _octal(0, 11),
    ]
    tail = [bytes(_LINK), b"ustar\x0000", bytes(64), *_device((0, 0)), bytes(_PREFIX)]
    return _summed(fields, b"x", tail) + content + bytes(padding(len(content)))


def _record(key: bytes, value: bytes) -> bytes:
    """`<length> <key>=<value>\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _time(nanoseconds: int) -> bytes:
    sign, (seconds, fraction) = ("-" if nanoseconds < 0 else ""), divmod(abs(nanoseconds), 10**9)
    return f"{sign}{seconds}.{fraction:09d}".rstrip("0").rstrip(".").encode()


def _octal(value: int, digits: int) -> bytes:
    """Zero where it does not fit: then a pax record has it."""
    return b"%0*o\0" % (digits, value if 0 <= value < 8**digits else 0)


def _device(numbers: tuple[int, int]) -> list[bytes]:
    return [_octal(number, 7) for number in numbers]


def _summed(fields: list[bytes], kind: bytes, tail: list[bytes]) -> bytes:
    before, after = b"".join(fields), kind + b"".join(tail)
    header = before + b" " * 8 + after
    return (before + b"%06o\0 " % sum(header) + after).ljust(BLOCK, b"\0")
