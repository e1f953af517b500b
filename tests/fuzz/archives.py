"""Tar archives taken apart and put together again, with checksums that are mostly right: what is wrong should be found behind them."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from random import Random

from tests.fuzz.mutators import LONGEST, number, octets

_BLOCK = 512
# name → (offset, length)
_FIELDS = {
    "name": (0, 100),
    "mode": (100, 8),
    "uid": (108, 8),
    "gid": (116, 8),
    "size": (124, 12),
    "mtime": (136, 12),
    "kind": (156, 1),
    "link": (157, 100),
    "magic": (257, 8),
    "major": (329, 8),
    "minor": (337, 8),
    "prefix": (345, 155),
}
_TEXTS = ("name", "name", "link", "link", "prefix")
_NUMBERS = ("mode", "uid", "gid", "size", "mtime", "major", "minor")
_KINDS = b"00000555512222334677xgLKSDMVA\0\xff"
_MAGICS = (b"ustar\x0000", b"ustar  \0", bytes(8), b"ustar\0  ")
NAMES: Sequence[bytes] = (
    *(
        b"",
        b".",
        b"..",
        b"/",
        b"./",
        b"../",
        b"a",
        b"a/",
        b"a/b",
        b"a/b/c",
        b"d",
        b"d/",
        b"d/e",
        b"link",
        b"link/x",
        b"link/../x",
        b"./a",
        b"/a",
    ),
    *(
        b"../x",
        b"../canary/file",
        b"/canary",
        b"/canary/file",
        b"../../../../canary/file",
        b"a/../../x",
        b"link/canary/file",
        b"a//b",
        b"a/./b",
    ),
    *(
        b".wh.a",
        b".wh..wh..opq",
        b"d/.wh..wh..opq",
        b"d/.wh.e",
        b".wh.",
        b".wh..",
        b".wh...",
        b".wh..wh.plnk",
        b".wh.d/x",
        b"a/.wh.b",
        b".wh.link",
    ),
    *(
        b"n" * 100,
        b"n" * 255,
        b"n" * 256,
        b"a/" * 49,
        b"x" * 99 + b"/",
        b"\xff\xfe",
        b"a\nb",
        b"a\0b",
        "é".encode(),
        "é".encode(),
        b"A",
        b"a" * 155,
    ),
)
_RECORDS: Sequence[bytes] = (
    *(
        b"path",
        b"linkpath",
        b"size",
        b"uid",
        b"gid",
        b"mtime",
        b"atime",
        b"uname",
        b"comment",
        b"hdrcharset",
        b"SCHILY.dev",
        b"SCHILY.realsize",
    ),
    *(
        b"SCHILY.xattr.user.a",
        b"SCHILY.xattr.security.capability",
        b"SCHILY.xattr.trusted.overlay.opaque",
        b"SCHILY.xattr.user.overlay.redirect",
    ),
    *(
        b"SCHILY.xattr.",
        b"SCHILY.xattr.user.\xff",
        b"SCHILY.xattr.system.posix_acl_access",
        b"LIBARCHIVE.xattr.user.b",
        b"SCHILY.xattr.user." + b"n" * 260,
    ),
    *(
        b"GNU.sparse.major",
        b"GNU.sparse.minor",
        b"GNU.sparse.name",
        b"GNU.sparse.realsize",
        b"GNU.sparse.size",
        b"GNU.sparse.map",
    ),
    *(b"GNU.sparse.numblocks", b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"", b"=", b" "),
)
_VALUES: Sequence[bytes] = (
    b"",
    b"0",
    b"1",
    b"-1",
    b"1.5",
    b"-1.25",
    b"0.1",
    b"1e9",
    b"0,512",
    b"0,1,4096,2",
    b"x" * 300,
    b"\xff",
    b"\0",
    b"\n",
    b"\xd9\xa3",
)


def header(name: bytes, kind: bytes = b"0", *, size: int = 0, link: bytes = b"", mode: int = 0o644) -> bytearray:
    made = bytearray(_BLOCK)
    for field, value in (
        *(("name", name), ("mode", b"%07o" % mode), ("uid", b"0000000"), ("gid", b"0000000"), ("size", b"%011o" % size)),
        *(("mtime", b"14600000000"), ("kind", kind), ("link", link), ("magic", b"ustar\x0000")),
    ):
        put(made, field, value)
    return add_up(made)


def put(header: bytearray, field: str, value: bytes) -> None:
    start, length = _FIELDS[field]
    header[start : start + length] = value[:length].ljust(length, b"\0")


def add_up(header: bytearray) -> bytearray:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return header


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK)


def archive(*members: tuple[bytes | bytearray, bytes]) -> bytes:
    return b"".join(bytes(head) + padded(content) for head, content in members) + bytes(2 * _BLOCK)


def records(pairs: Sequence[tuple[bytes, bytes]]) -> bytes:
    """As pax(1) writes them: each begins with its own length."""
    written = b""
    for key, value in pairs:
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        written += str(length).encode() + body
    return written


def extended(kind: bytes, content: bytes) -> tuple[bytearray, bytes]:
    return header(b"././@PaxHeader", kind, size=len(content)), content


def _take_apart(value: bytes) -> list[tuple[bytearray, bytes]]:
    members = []
    at = 0
    while at + _BLOCK <= len(value):
        head = bytearray(value[at : at + _BLOCK])
        at += _BLOCK
        if not any(head):
            break
        digits = bytes(head[124:136]).strip(b" \0")
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
        size = size if size <= LONGEST else 0
        members.append((head, value[at : at + size]))
        at += size + -size % _BLOCK
    return members


def mutate(value: bytes, random: Random) -> bytes:
    members = _take_apart(value)
    if random.random() < 0.1 or not members:
        return octets(value, random, [b"ustar\x0000", bytes(_BLOCK), *NAMES])
    for _ in range(random.choice((1, 1, 2, 3))):
        random.choice(_CHANGES)(members, random)
        members = members or [(header(b"a"), b"")]
    made = archive(*members[:200])
    return (made[: random.randrange(len(made))] if random.random() < 0.05 else made)[:LONGEST]


def _change_field(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    head, _ = random.choice(members)
    kind = random.randrange(6)
    if kind < 2:
        put(head, random.choice(_TEXTS), random.choice(NAMES))
    elif kind < 4:
        put(head, field := random.choice(_NUMBERS), _written(number(random), _FIELDS[field][1], random))
    elif kind == 4:
        put(head, "kind", bytes([random.choice(_KINDS)]))
    else:
        put(head, "magic", random.choice(_MAGICS))
    if random.random() < 0.97:
        add_up(head)


def _written(value: int, width: int, random: Random) -> bytes:
    kind = random.randrange(6)
    if kind < 3:
        return (b"%o" % abs(value)).rjust(width - 1, b"0")[-width:]
    if kind == 3:
        return (value % (1 << (8 * width - 1)) | 1 << (8 * width - 1)).to_bytes(width, "big")
    if kind == 4:
        return (b" " * random.randrange(width)) + b"%o " % abs(value)
    return random.choice((b"-1", b"8", b"0x1", b"", b" ", b"\xff" * width, random.randbytes(width)))


def _change_content(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    place = random.randrange(len(members))
    head, content = members[place]
    content = octets(content, random, _VALUES)[:4096]
    put(head, "size", b"%011o" % len(content))
    members[place] = (add_up(head), content)


def _insert_records(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    pairs = [
        (random.choice(_RECORDS), random.choice((*_VALUES, random.choice(NAMES), str(number(random)).encode())))
        for _ in range(random.choice((1, 1, 2, 3, 8)))
    ]
    content = records(pairs)
    if random.random() < 0.1:
        content = octets(content, random, _VALUES)
    members.insert(random.randrange(len(members) + 1), extended(random.choice((b"x", b"x", b"x", b"g")), content))


def _insert_long_name(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    name = random.choice(NAMES) * random.choice((1, 1, 3, 60))
    members.insert(random.randrange(len(members) + 1), extended(random.choice((b"L", b"K")), name + b"\0"))


def _insert_member(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    content = random.randbytes(random.choice((0, 1, 511, 512, 513))) if random.random() < 0.5 else b""
    kind = bytes([random.choice(b"0055123467")])
    made = header(random.choice(NAMES), kind, size=len(content), link=random.choice(NAMES), mode=number(random) & 0o7777)
    members.insert(random.randrange(len(members) + 1), (made, content))


def _rearrange(members: list[tuple[bytearray, bytes]], random: Random) -> None:
    one, other = random.randrange(len(members)), random.randrange(len(members))
    kind = random.randrange(4)
    if kind == 0:
        members[one], members[other] = members[other], members[one]
    elif kind == 1:
        members.insert(other, (bytearray(members[one][0]), members[one][1]))
    elif kind == 2:
        del members[one]
    else:
        members.insert(other, (bytearray(_BLOCK), b""))


_CHANGES: Sequence[Callable[[list[tuple[bytearray, bytes]], Random], None]] = (
    *(_change_field, _change_field, _change_field),
    *(_change_content, _insert_records, _insert_long_name, _insert_member, _insert_member, _rearrange),
)


def mutate_compressed(value: bytes, random: Random) -> bytes:
    """Changes of the compressed bytes, or of what is in them."""
    if value.startswith(b"\x1f\x8b") and random.random() < 0.3:
        try:
            inner = zlib.decompressobj(31).decompress(value, LONGEST)
        except zlib.error:
            inner = b""
        if random.random() < 0.3:
            return value + gzip.compress(octets(inner, random), 1, mtime=0)
        return gzip.compress(octets(inner, random), random.choice((0, 1, 9)), mtime=0)
    return octets(value, random, [b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\xfd7zXZ\0", b"BZh9", bytes(64)])
