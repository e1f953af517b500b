"""What the commands share: the global flags over the settings, the engine they lead to, and how an error is reported."""

from __future__ import annotations

import sys

from crate_engine.cli.render import display
from crate_engine.errors import CrateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from crate_engine.engine import Engine
    from crate_engine.settings import Settings


class Session:
    """One command line: its global flags, and the settings, which are read when a command asks for them."""

    __slots__ = ("_settings", "failure", "flags")

    def __init__(self, flags: dict[str, object], failure: int = 1) -> None:
        """`failure` is the exit status of an error of the engine in the command at hand."""
        self.flags = flags
        self.failure = failure
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """Raises SettingsError."""
        if self._settings is None:
            from crate_engine.settings import load

            self._settings = load()
        return self._settings

    def flag(self, name: str) -> str | None:
        """The value of a global flag as it was given; an empty one counts as not given."""
        value = self.flags.get(name)
        return value if isinstance(value, str) and value else None

    @property
    def log_level(self) -> str:
        return self.flag("log_level") or self.settings.log_level

    def engine(self) -> Engine:
        """To be used as a context manager. Raises SettingsError and what Engine raises."""
        settings = self.settings
        from crate_engine.engine import Engine

        return Engine(
            root=self.flag("root") or settings.root,
            runroot=self.flag("runroot") or settings.runroot,
            runtime=self.flag("runtime") or settings.runtime,
            settings=settings,
            warn=self.warn,
        )

    def warn(self, text: str) -> None:
        """One line on standard error, unless only errors are wanted."""
        if self.log_level != "error" and sys.stderr is not None:
            sys.stderr.write(f"crate: warning: {display(text)}\n")

    def each(self, names: Iterable[str], act: Callable[[str], object], *, absent: type[CrateError] | None = None) -> int:
        """Act on every name and print it, as docker does: an error is reported and the next name has its turn.

        An error of the type `absent` is reported too, but does not make the command fail: `rm --force` of what is not there.
        """
        status = 0
        for name in names:
            try:
                act(name)
            except CrateError as error:
                failed = report(str(error), error.hint, self.failure)
                status = status if absent and isinstance(error, absent) else failed
            else:
                print(name)
                sys.stdout.flush()
        return status


def open_streams() -> list[TextIO]:
    """Standard output and error, but for one that the caller has closed."""
    return [stream for stream in (sys.stdout, sys.stderr) if stream is not None]


def report(text: str, hint: str | None, status: int) -> int:
    """Print an error in crate's form and return `status`."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what was printed before comes before
    except OSError:
        pass  # a full disk or a reader that left does not hide the error
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"crate: error: {display(text)}\n" + (f"hint: {display(hint)}\n" if hint else ""))
            sys.stderr.flush()
    except OSError:
        pass  # there is nowhere left to say it: the exit status has to do
    return status


def known_names(kind: str) -> list[str]:
    """The names of all `containers` or `images` of the caller's own store, for completion: none where anything is wrong."""
    try:
        with Session({}).engine() as engine:
            if kind == "containers":
                return [container.name for container in engine.containers(all=True)]
            return [name.familiar for image in engine.images() for name in image.names]
    except Exception:  # a shell in the middle of a line is no place for an error message
        return []
