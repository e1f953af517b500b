"""Tar archives made field by field, of every format and with every defect: what tarfile would refuse to write."""

from __future__ import annotations

from crate_engine.layers.tar_fields import padding

END = bytes(1024)
_LAYOUT = (
    *(
        ("name", 100),
        ("mode", 8),
        ("uid", 8),
        ("gid", 8),
        ("size", 12),
        ("mtime", 12),
        ("checksum", 8),
        ("kind", 1),
        ("link", 100),
    ),
    *(("magic", 8), ("uname", 32), ("gname", 32), ("major", 8), ("minor", 8), ("prefix", 155), ("pad", 12)),
)
_DEFAULTS = {
    "mode": b"0000644\0",
    "uid": b"0000000\0",
    "gid": b"0000000\0",
    "size": b"00000000000\0",
    "mtime": b"00000000000\0",
    "checksum": b" " * 8,
    "magic": b"ustar\x0000",
}


def header(name: bytes = b"f", kind: bytes = b"0", **fields: bytes) -> bytes:
    """One header; `fields` are raw, and the checksum is right unless it is one of them."""
    values = _DEFAULTS | {"name": name, "kind": kind} | fields
    block = b"".join(values.get(field, b"").ljust(width, b"\0")[:width] for field, width in _LAYOUT)
    return block if "checksum" in fields else summed(block)


def summed(block: bytes) -> bytes:
    """The header with its right checksum."""
    blank = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(blank) + block[156:]


def octal(value: int, width: int = 12) -> bytes:
    return b"%0*o\0" % (width - 1, value)


def member(name: bytes, content: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header and its content, padded."""
    return header(name, kind, **{"size": octal(len(content)), **fields}) + padded(content)


def padded(content: bytes) -> bytes:
    return content + bytes(padding(len(content)))


def extended(kind: bytes, content: bytes) -> bytes:
    return header(b"x", kind, size=octal(len(content))) + padded(content)


def record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


def records(*pairs: tuple[str, bytes]) -> bytes:
    """A pax header, its records in this order."""
    return extended(b"x", b"".join(record(key, value) for key, value in pairs))


def pax(**values: bytes) -> bytes:
    """A pax header; `__` in a keyword stands for a dot."""
    return records(*((key.replace("__", "."), value) for key, value in values.items()))


def old_sparse(name: bytes, size: int, pieces: list[tuple[int, bytes]], **fields: bytes) -> bytes:
    """A file with holes as GNU tar 1.13 wrote it: four pieces in the header, 21 in each block behind it."""
    stored = b"".join(content for _, content in pieces)
    map_ = [octal(offset) + octal(len(content)) for offset, content in pieces]
    block = header(name, b"S", magic=b"ustar  \0", size=octal(len(stored)), **fields)
    rest = map_[4:]
    tail = b"".join(map_[:4]).ljust(96, b"\0") + bytes([bool(rest)]) + octal(size)
    block = summed(block[:386] + tail + bytes(512 - 386 - len(tail)))
    while rest:
        block += (b"".join(rest[:21]).ljust(504, b"\0") + bytes([len(rest) > 21])).ljust(512, b"\0")
        rest = rest[21:]
    return block + padded(stored)
