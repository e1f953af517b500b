"""Bars on a terminal, one a layer, redrawn in place: bytes and rate while it moves, then what is made of it (console_codes(4)).

No thread and no timer: an event draws, at most every tenth of a second, in one write(2), so that nothing flickers and the process may fork. The
cursor is never hidden and rests below the bars: whatever ends the process, the terminal is as it was. What scrolled up stays as it is.
"""

from __future__ import annotations

import os
import time

from crate_engine.cli import render
from crate_engine.cli.progress import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

    from crate_engine.cli.progress import Words

REDRAW_AFTER = 0.1
"""Seconds between two drawings while bytes move."""
_RATE_OVER = 1.0
"""Seconds over which a rate is measured, at least."""
_LABEL, _HEAD, _SIZE, _RATE = 12, 26, 13, 8
"""Characters of the columns, so that bars of the same terminal are as long as each other."""
_WIDEST_BAR, _NARROWEST_BAR = 40, 8
_GREEN, _CYAN, _PLAIN = "\x1b[32m", "\x1b[36m", "\x1b[0m"


class Bar:
    """One layer: `total` is in bytes, 0 where there is nothing to move."""

    __slots__ = ("_since", "_then", "count", "finished", "label", "rate", "state", "total")

    def __init__(self, label: str, state: str, total: int, now: float) -> None:
        self.label = label
        self.state = state
        self.total = total
        self.count = 0
        self.rate = 0.0
        self.finished = False
        self._since, self._then = now, 0

    def advance(self, count: int, now: float) -> None:
        self.count += count
        passed = now - self._since
        if passed >= _RATE_OVER or (not self._then and passed >= REDRAW_AFTER):
            self.rate = (self.count - self._then) / passed
        if passed >= _RATE_OVER:
            self._since, self._then = now, self.count

    def line(self, width: int, *, moving: bool, colour: bool) -> str:
        """At most `width` characters beside colours. What does not fit is left out: the bar, then the rate, then the bytes."""
        head = f"{self.label[:_LABEL]}: {self.state}"
        if moving and not self.total and self.count:  # how much there is, nobody knows
            return f"{head.ljust(_HEAD)} {render.size(self.count)}"[:width]
        if not moving or not self.total:
            return _coloured(head[:width], _GREEN if colour and self.finished else "")
        share = min(self.count / self.total, 1)
        size = f"{render.size(self.count)}/{render.size(self.total)}"
        rate = f"{render.size(int(self.rate))}/s" if self.rate else ""
        bar = min(width - len(head.ljust(_HEAD)) - _SIZE - _RATE - 5, _WIDEST_BAR)
        if bar >= _NARROWEST_BAR:
            filled = round(share * bar)
            drawn = "=" * (filled - 1) + (">" if share < 1 else "=") if filled else ""
            return f"{head.ljust(_HEAD)} [{_coloured(drawn.ljust(bar), _CYAN if colour else '')}] {size:<{_SIZE}} {rate}".rstrip()
        shorter = (f"{head} {size} {rate}".rstrip(), f"{head} {size}", f"{head} {share:.0%}")
        return next((text for text in shorter if len(text) <= width), head[:width])


class Bars(Lines):
    """The Progress of a person who watches."""

    def __init__(self, stream: TextIO, words: Words) -> None:
        super().__init__(stream, words)
        self._bars: dict[str, Bar] = {}
        self._colour = not os.environ.get("NO_COLOR")
        self._drawn_at = 0.0
        self._frame: list[int] = []
        """Widths of the lines that are drawn and may be drawn over."""
        self._lost = False

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            for bar in self._bars.values():
                if error is not None and not bar.finished:
                    bar.state = "Stopped"
            if self._bars:
                self._draw()

    def layer_started(self, digest: object, size: int) -> None:
        with self._lock:
            now = time.monotonic()
            self._bars[str(digest)] = Bar(render.short_id(str(digest)), self.words.moving, size, now)
            self._draw()

    def advanced(self, digest: object, count: int) -> None:
        with self._lock:
            bar = self._bars.get(str(digest))
            if bar is None:
                return
            now = time.monotonic()
            bar.advance(count, now)
            moved = bar.total and bar.count >= bar.total and bar.state == self.words.moving
            if moved:
                bar.state = self.words.second or bar.state
            if moved or now - self._drawn_at >= REDRAW_AFTER:
                self._draw()

    def unpacking(self, digest: object) -> None:
        bar = self._bars.get(str(digest))
        if bar is None or not bar.total:  # nothing of it had to be fetched, or it has been without a known size
            self._change(digest, self.words.second or self.words.moving, finished=False)

    def layer_done(self, digest: object, cached: bool) -> None:
        self._change(digest, self.words.cached if cached else self.words.done, finished=True)

    def _change(self, digest: object, state: str, *, finished: bool) -> None:
        with self._lock:
            bar = self._bars.setdefault(str(digest), Bar(render.short_id(str(digest)), state, 0, time.monotonic()))
            bar.state, bar.finished = state, finished
            self._draw()
            if all(bar.finished for bar in self._bars.values()):
                self._bars, self._frame = {}, []  # the command may print below them now, and more may follow there

    def _say(self, line: str) -> None:
        with self._lock:
            self._write(self._erased() + "\x1b[J" * bool(self._frame) + render.display(line) + "\n")
            self._frame = []
            if self._bars:
                self._draw()

    def _draw(self) -> None:
        """Everything anew, over what was drawn; the lock is held."""
        columns, rows = self._size()
        width = max(columns - 1, 1)  # a full line would wrap on some terminals
        lines = [self._line(bar, width) for bar in self._shown(max(rows - 1, 1))]
        hidden = len(self._bars) - len(lines)
        if hidden:
            done = sum(bar.finished for bar in self._bars.values())
            lines[-1] = f"{done} of {len(self._bars)} layers done"[:width]
        text = self._erased(columns)
        self._frame = [_visible(line) for line in lines]
        self._write(text + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        self._drawn_at = time.monotonic()

    def _shown(self, most: int) -> list[Bar]:
        """All, or where the terminal has too few lines those that are not done first; the last line is then for the others."""
        bars = list(self._bars.values())
        if len(bars) <= most:
            return bars
        return sorted(bars, key=lambda bar: bar.finished)[:most]

    def _line(self, bar: Bar, width: int) -> str:
        return bar.line(width, moving=bar.state == self.words.moving, colour=self._colour)

    def _erased(self, columns: int = 0) -> str:
        """To the first line of what is drawn: lines that the terminal has wrapped since, as it became narrower, count as several."""
        if not self._frame:
            return ""
        columns = columns or self._size()[0]
        height = sum(max(1, -(-width // columns)) for width in self._frame)
        return f"\x1b[{height}A\r"

    def _size(self) -> tuple[int, int]:
        """Columns and lines; a terminal that does not tell is as wide as terminals were."""
        try:
            columns, rows = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def _write(self, text: str) -> None:
        """A terminal that is gone is no reason for the transfer to fail."""
        if self._lost:
            return
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            self._lost = True


def _coloured(text: str, colour: str) -> str:
    return f"{colour}{text}{_PLAIN}" if colour else text


def _visible(line: str) -> int:
    for colour in (_GREEN, _CYAN, _PLAIN):
        line = line.replace(colour, "")
    return len(line)
