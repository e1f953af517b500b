"""What is said while layers come and go: docker's lines where nobody watches, one bar a layer on a terminal.

Each class is the Progress of `crate_engine.layers.transfer`, whose calls come from several threads, and of what goes the other way.
"""

from __future__ import annotations

import os
import sys
import threading

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Final, Self, TextIO


class Words:
    """How one kind of transfer calls its steps. A line without words is not said where nobody watches."""

    __slots__ = ("ahead", "cached", "done", "header", "moved", "moving", "second", "started")

    def __init__(
        self,
        header: str,
        *,
        started: str = "",
        moving: str,
        moved: str = "",
        second: str = "",
        done: str,
        cached: str = "",
    ) -> None:
        """`header` is a format of `tag`, `repository` and `reference`; `moved` is a line, `second` the state of a bar that has moved."""
        self.header = header
        self.started = started
        self.moving = moving
        self.moved = moved
        self.second = second or moved
        self.done = done
        self.cached = cached or done


PULLING: Final = Words(
    "{tag}: Pulling from {repository}",
    started="Pulling fs layer",
    moving="Downloading",
    moved="Download complete",
    second="Unpacking",
    done="Pull complete",
    cached="Already exists",
)
PUSHING: Final = Words(
    "The push refers to repository [{name}]", started="Preparing", moving="Pushing", done="Pushed", cached="Layer already exists"
)
LOADING: Final = Words("", started="Loading layer", moving="Loading", second="Unpacking", done="Loaded", cached="Already exists")
IMPORTING: Final = Words("", moving="Importing", second="Unpacking", done="Imported")
SAVING: Final = Words("", started="Copying blob", moving="Saving", done="Saved")


class Lines:
    """One line an event, on `stream`."""

    def __init__(self, stream: TextIO, words: Words = PULLING) -> None:
        self.stream = stream
        self.words = words
        self.reference = ""
        self.digest = ""
        self._lock = threading.Lock()
        self._missing: dict[str, int] = {}
        """Bytes that are still to come, by digest."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def resolved(self, reference: object, digest: object) -> None:
        """The first event: what the registry calls this name, or where it goes."""
        self.reference, self.digest = str(reference), str(digest)
        name, _, tag = self.reference.partition("@")[0].rpartition(":")
        if "/" in tag or not name:
            name, tag = self.reference, ""
        if not self.words.header:
            return
        if self.words is PULLING and not tag:
            self._say(f"Pulling from {self.reference}")
        else:
            self._say(self.words.header.format(tag=tag, name=name, repository=name.removeprefix("docker.io/")))

    def layer_started(self, digest: object, size: int) -> None:
        self._missing[str(digest)] = size
        self._event(digest, self.words.started)

    def advanced(self, digest: object, count: int) -> None:
        with self._lock:
            before = self._missing.get(str(digest), 0)
            self._missing[str(digest)] = before - count
        if before > 0 and before <= count:
            self._event(digest, self.words.moved)

    def unpacking(self, digest: object) -> None:
        """It has begun, which it does with the first bytes: what is moving is of more interest."""

    def layer_done(self, digest: object, cached: bool) -> None:
        self._event(digest, self.words.cached if cached else self.words.done)

    def _event(self, digest: object, words: str) -> None:
        if words:
            self._say(f"{render.short_id(str(digest))}: {words}")

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


def follow(stream: TextIO, *, quiet: bool = False, words: Words = PULLING) -> Lines:
    """The progress that suits `stream`; use it as a context manager."""
    if quiet:
        return Silence()
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        from crate_engine.cli.bars import Bars

        return Bars(stream, words)
    return Lines(stream, words)
