"""Pure functions from values to the text that docker's users know: tables, ages, sizes, ports. Nothing here prints or asks for the time.

Whatever comes from an image, a registry or a container passes through `display`, so that it cannot command the terminal it is printed on.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MINUTE, HOUR, DAY = 60, 3600, 86400
SHORT_ID = 12
COMMAND_WIDTH = 20
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_GAP = 3
_NARROWEST = 10
"""Characters of a column with its gap, at least, as docker lays tables out."""

# characters that reorder or break the text around them (CVE-2021-42574)
_REORDERING = frozenset((0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def _obeyed(code: int) -> bool:
    """What a terminal obeys instead of showing it: C0, DEL, C1 (CVE-2021-25743), reordering, and surrogates, which cannot be encoded."""
    return code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in _REORDERING


class _Escapes(dict[int, str]):
    """For str.translate: made as characters are met."""

    def __missing__(self, code: int) -> str:
        byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # a surrogate that stands for a byte: PEP 383
        self[code] = (f"\\x{byte:02x}" if byte < 0x100 else f"\\u{code:04x}") if _obeyed(code) else chr(code)
        return self[code]


class _JsonEscapes(dict[int, str]):
    def __missing__(self, code: int) -> str:
        self[code] = f"\\u{code:04x}" if _obeyed(code) and code != 0x0A else chr(code)
        return self[code]


_ESCAPES, _JSON_ESCAPES = _Escapes(), _JsonEscapes()


def display(text: str) -> str:
    """`text` with every character that is not for showing written as `\\xNN`; always one line, and always encodable."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_ESCAPES)


def json_safe(text: str) -> str:
    """JSON text in which the same characters are `\\u` escapes. Line breaks between values stay: those inside texts are escaped already."""
    return text.translate(_JSON_ESCAPES)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell and three spaces, ten characters at least; the last one is not filled up. Ends with a line break."""
    lines = [list(header), *([display(cell) for cell in row] for row in rows)]
    widths = [max(_NARROWEST, max(map(len, column)) + _GAP) for column in zip(*lines, strict=True)]
    widths[-1] = 0
    return "".join("".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + "\n" for line in lines)


def age(seconds: float) -> str:
    """A duration in words: `3 minutes`, `About an hour`, `2 weeks`."""
    whole = int(seconds)
    minutes, hours = whole // MINUTE, int(seconds / HOUR + 0.5)
    steps = (
        (whole < 1, "Less than a second"),
        (whole == 1, "1 second"),
        (whole < MINUTE, f"{whole} seconds"),
        (minutes == 1, "About a minute"),
        (minutes < 60, f"{minutes} minutes"),
        (hours == 1, "About an hour"),
        (hours < 48, f"{hours} hours"),
        (hours < 24 * 7 * 2, f"{hours // 24} days"),
        (hours < 24 * 30 * 2, f"{hours // 24 // 7} weeks"),
        (hours < 24 * 365 * 2, f"{hours // 24 // 30} months"),
    )
    return next((text for holds, text in steps if holds), f"{hours // 24 // 365} years")


def size(count: int) -> str:
    """Bytes in decimal units with three digits: `187MB`, `12.3MB`, `4.85kB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:  # 999.6 would be rounded to four digits
        value, unit = value / 1000, unit + 1
    return f"{value:.3g}{_UNITS[unit]}"


def short_id(digest: str) -> str:
    """The first 12 digits of an id or a digest."""
    return digest.rpartition(":")[2][:SHORT_ID]


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def quoted_command(words: Sequence[str], *, whole: bool = False) -> str:
    """The command of a container as `ps` shows it."""
    text = " ".join(words)
    text = text if whole else shorten(text, COMMAND_WIDTH)
    return '"' + display(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def status(state: str, *, exit_code: int | None = None, since: float = 0) -> str:
    """`Up 3 minutes`, `Exited (137) 2 hours ago`, `Created`; `since` is the age of that state in seconds."""
    if state in ("running", "stopping"):
        return f"Up {age(since)}"
    if state == "exited":
        return f"Exited ({'?' if exit_code is None else exit_code}) {age(since)} ago"
    return state.capitalize()


def epoch(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time (`2026-01-02T03:04:05.678Z`, `…+02:00`). Raises ValueError."""
    date, clock, offset = text[:10], text[11:], 0
    if clock.endswith(("Z", "z")):
        clock = clock[:-1]
    else:
        sign, clock, zone = clock[-6:-5], clock[:-6], clock[-5:]
        hours, minutes = zone.split(":")
        offset = (int(hours) * HOUR + int(minutes) * MINUTE) * {"+": 1, "-": -1}.get(sign, 0)
    year, month, day = (int(part) for part in date.split("-"))
    hour, minute, second = clock.split(":")
    days = _days(year, month, day)
    return days * DAY + int(hour) * HOUR + int(minute) * MINUTE + float(second) - offset


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar, whose year is counted from March here so that the leap day is its last."""
    year, month = (year, month - 3) if month > 2 else (year - 1, month + 9)
    return year * 365 + year // 4 - year // 100 + year // 400 + (month * 153 + 2) // 5 + day - 719469
