"""Fields of tar headers read as values: numbers, texts, checksums and pax records (pax(1), *ustar* and *pax* formats; GNU tar's base-256).

Pure. What a field means, and which formats have it, is for its callers.
"""

from __future__ import annotations

from crate_engine.errors import LayerError

BLOCK = 512
_INT64 = 2**63
_LONGEST_NUMBER = 20  # digits; 2**64 has as many


def padding(size: int) -> int:
    """Bytes between the end of a member and the next block."""
    return -size % BLOCK


def text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def number(field: bytes) -> int:
    """Octal digits between spaces and NULs, or GNU tar's base-256 for what does not fit."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
        return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
    digits = field.strip(b" \0").partition(b"\0")[0].rstrip(b" ")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise LayerError(f"read layer: {digits!r} in a header is no octal number")
    return int(digits, 8)


def decimal(digits: bytes, name: str) -> int:
    """The value of the pax record `name`, a whole number of no sign."""
    if not digits.isdigit() or len(digits) > _LONGEST_NUMBER:
        raise LayerError(f"read layer: the pax record {name} is {digits[:32]!r}, no number")
    return int(digits)


def nanoseconds(moment: bytes) -> int:
    """Of a pax record like `-1.5`: since 1970, what is finer cut off."""
    whole, _, fraction = moment.removeprefix(b"-").partition(b".")
    if not whole.isdigit() or len(whole) > _LONGEST_NUMBER or (fraction and not fraction.isdigit()):
        raise LayerError(f"read layer: the pax record mtime is {moment[:32]!r}, no time")
    value = int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))
    return -value if moment.startswith(b"-") else value


def to_kernel_time(value: int) -> int:
    """Nanoseconds that utimensat(2) can be given through Python: the nearest that fit 64 bits."""
    return max(-_INT64, min(value, _INT64 - 1))


def check_sum(header: bytes) -> None:
    """Raises LayerError where the header's own sum of its bytes, the eight of the sum counted as spaces, is another."""
    stated = number(header[148:156])
    found = sum(header) - sum(header[148:156]) + 8 * 32
    # Some early programs added up signed characters.
    if stated != found and stated != found - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise LayerError("read layer: a header has a wrong checksum")


def pax_records(content: bytes) -> list[tuple[str, bytes]]:
    """`<length> <key>=<value>\\n`, the length counting itself, in their order: keys may come again. Raises LayerError."""
    records = []
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
        records.append((key.decode("utf-8", "surrogateescape"), value))
        at = end
    return records
