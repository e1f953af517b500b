"""The kernel's list of numbers, `0-3,7`, in which processors and memory nodes are written (cpuset(7), "List format")."""

from __future__ import annotations

LIMIT = 8192  # as many processors as a kernel can be built for


def numbers_of(text: str) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7], an empty text as []. Raises ValueError, also for a range that runs backwards and for a number that no machine
    has."""
    if not text:
        return []
    found: set[int] = set()
    for part in text.split(","):
        ends = [end.strip(" ") for end in part.split("-")]
        if len(ends) > 2 or not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
            raise ValueError(text)
        first, last = int(ends[0]), int(ends[-1])
        if not first <= last < LIMIT:
            raise ValueError(text)
        found.update(range(first, last + 1))
    return sorted(found)


def mask_of(numbers: list[int]) -> bytes:
    """As bits in words of 64, the form of the kernel's masks; empty for no number."""
    size = (max(numbers) // 64 + 1) * 8 if numbers else 0
    return sum(1 << number for number in numbers).to_bytes(size, "little")
