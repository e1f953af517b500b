"""The table that people read, and the document that programs read."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict
from typing import Any

from benchmarks.measure import Contender, Row

_WIDTH = 44
_COMPLAINT = 90


def heading(section: str) -> str:
    return f"{section.upper():<{_WIDTH}}{'median ms':>11}{'least ms':>11}{'cpu ms':>10}{'peak MiB':>10}    ours ÷ this"


def lines(row: Row) -> list[str]:
    """Ours first; each peer's line says how many times as long ours takes."""
    ours = row.contenders[0]
    return [row.what, *(_line(contender, ours if row.compared else contender) for contender in row.contenders)]


def _line(contender: Contender, ours: Contender) -> str:
    name = f"  {contender.name}"
    if contender.failure:
        # the reason stands last in what programs say
        return f"{name:<{_WIDTH - 2}}  fails: …{contender.failure[-_COMPLAINT:]}"
    peak = f"{contender.peak / 1024:.1f}" if contender.peak is not None else ""
    text = f"{name:<{_WIDTH}}{contender.median:>11.1f}{contender.least:>11.1f}{contender.cpu:>10.1f}{peak:>10}"
    if contender is ours or ours.failure:
        return text
    return f"{text}{ours.median / contender.median:>14.2f}"


def document(label: str, row: Row) -> dict[str, Any]:
    """Every sample; milliseconds and KiB."""
    return {
        "as": label,
        "section": row.section,
        "what": row.what,
        "contenders": [
            {
                "name": contender.name,
                "failure": contender.failure or None,
                "peak": contender.peak,
                "samples": [asdict(sample) for sample in contender.samples],
            }
            for contender in row.contenders
        ],
    }


def machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    load = os.getloadavg()[0]
    return (
        f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} processors, {memory:.0f} GiB, load {load:.1f}, "
        f"Python {platform.python_version()}"
    )
