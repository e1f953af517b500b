"""What a pull looks like while it goes on: docker's lines where nobody watches, one bar a layer on a terminal.

Each class is the Progress of `crate_engine.pull`, whose calls come from several threads. rich is imported only for the bars.
"""

from __future__ import annotations

import os
import sys
import threading
import time

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, Self, TextIO

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

REDRAW_AFTER = 0.1
"""Seconds between two drawings of the bars while bytes arrive."""


class Lines:
    """One line an event, on `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.reference = ""
        self.digest = ""
        self._lock = threading.Lock()
        self._unpacking: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def resolved(self, reference: object, digest: object) -> None:
        """The first event: what the registry calls this name."""
        self.reference, self.digest = str(reference), str(digest)
        name, _, tag = self.reference.partition("@")[0].rpartition(":")
        repository = name.removeprefix("docker.io/")
        self._say(f"{tag}: Pulling from {repository}" if "/" not in tag and name else f"Pulling from {self.reference}")

    def layer_started(self, digest: object, size: int) -> None:
        self._say(f"{render.short_id(str(digest))}: Pulling fs layer")

    def advanced(self, digest: object, count: int) -> None:
        pass

    def unpacking(self, digest: object) -> None:
        self._say(f"{render.short_id(str(digest))}: Download complete")

    def layer_done(self, digest: object, cached: bool) -> None:
        self._say(f"{render.short_id(str(digest))}: {'Already exists' if cached else 'Pull complete'}")

    def _say(self, line: str) -> None:
        with self._lock:
            self.stream.write(render.display(line) + "\n")
            self.stream.flush()


class Silence(Lines):
    """Says nothing, and remembers what was resolved."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def _say(self, line: str) -> None:
        pass


class LiveBars(Lines):
    """A bar for each layer that is under way or has come, redrawn in place; the terminal scrolls as after printed lines when it is done."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._drawn = 0.0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()

    def layer_started(self, digest: object, size: int) -> None:
        self._update(digest, state="Downloading", total=size)

    def advanced(self, digest: object, count: int) -> None:
        self._update(digest, advance=count)

    def unpacking(self, digest: object) -> None:
        self._update(digest, state="Unpacking")

    def layer_done(self, digest: object, cached: bool) -> None:
        if cached:
            self._update(digest, state="Already exists", total=0)
        else:
            self._update(digest, state="Pull complete")

    def _update(self, digest: object, **change: Any) -> None:
        bars = self._started()
        with self._lock:
            key = str(digest)
            if key not in self._tasks:
                self._tasks[key] = bars.add_task(render.short_id(key), total=None, state="", size="")
            task = self._tasks[key]
            bars.update(task, **change)
            shown = next(each for each in bars.tasks if each.id == task)
            bars.update(task, size=f"{render.size(int(shown.completed))}/{render.size(int(shown.total))}" if shown.total else "")
            now = time.monotonic()
            if "state" in change or now - self._drawn > REDRAW_AFTER:
                self._drawn = now
                bars.refresh()

    def _started(self) -> Bars:
        with self._lock:
            if self._bars is None:
                self._bars = _bars(self.stream)
                self._bars.start()
            return self._bars


def follow(stream: TextIO, *, quiet: bool = False) -> Lines:
    """The progress that suits `stream`; use it as a context manager."""
    if quiet:
        return Silence()
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        try:
            import rich.progress  # noqa: F401
        except ImportError:
            return Lines(stream)
        return LiveBars(stream)
    return Lines(stream)


def _bars(stream: TextIO) -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}:", markup=False),
        TextColumn("{task.fields[state]:<14}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[size]}", markup=False),
    )
    return Progress(
        *columns, console=Console(file=stream, highlight=False), auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    )
