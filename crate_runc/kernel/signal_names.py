"""signal(7) by name: what `kill` takes. Real-time signals are RTMIN, RTMIN+1 … RTMAX-1, RTMAX, as kill(1) writes them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    import _signal

LAST = _signal.NSIG - 1
NUMBER_OF: dict[str, int] = {
    name.removeprefix("SIG"): int(value)
    for name, value in vars(_signal).items()
    if name.startswith("SIG") and not name.startswith("SIG_")
}


def number_of(word: str) -> int | None:
    """`9`, `KILL`, `sigkill`, `SIGRTMIN+3`, and 0, which only asks whether the process is there; None for what is no signal."""
    name = word.upper().removeprefix("SIG")
    if name.isascii() and name.isdigit():
        return int(name) if int(name) <= LAST else None
    for sign, base in (("+", "RTMIN"), ("-", "RTMAX")):
        start, found, offset = name.partition(sign)
        if found and start == base and offset.isascii() and offset.isdigit():
            number = NUMBER_OF[base] + int(sign + offset)
            return number if NUMBER_OF["RTMIN"] <= number <= NUMBER_OF["RTMAX"] else None
    return NUMBER_OF.get(name)
