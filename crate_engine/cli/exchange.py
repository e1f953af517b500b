"""The commands that move images in and out of files, in docker's words: save, load, import, export, commit."""

from __future__ import annotations

import sys

from crate_engine.cli.render import display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_engine.cli.session import Session


def save(session: Session, *, images: tuple[str, ...], output: str | None, format: str | None, quiet: bool) -> int:
    from crate_engine.cli.progress import SAVING, follow

    stream = None if output else _binary_output("save")
    shown = sys.stderr.isatty() and not quiet
    with session.engine() as engine, follow(sys.stderr, quiet=not shown, words=SAVING) as progress:
        engine.save(images, format=format or "docker-archive", output=output, stream=stream, progress=progress)
    return 0


def load(session: Session, *, input: str | None, platform: str | None, quiet: bool) -> int:
    from crate_engine.cli.progress import LOADING, follow
    from crate_engine.errors import UsageError

    if input is None and sys.stdin is not None and sys.stdin.isatty():
        raise UsageError("load: there is nothing on standard input", hint="name a file with -i, or redirect one")
    shown = sys.stderr.isatty() and not quiet
    with session.engine() as engine, follow(sys.stderr, quiet=not shown, words=LOADING) as progress:
        for loaded in engine.load(input, platform=platform, progress=progress):
            lines = [f"Loaded image: {name.familiar}" for name in loaded.names]
            for line in lines or [f"Loaded image ID: sha256:{loaded.image.id}"]:
                print(display(line))
            sys.stdout.flush()
    return 0


def import_archive(
    session: Session,
    *,
    source: str,
    name: str | None,
    change: tuple[str, ...],
    message: str | None,
    platform: str | None,
    quiet: bool,
) -> int:
    from crate_engine.cli.progress import IMPORTING, follow

    shown = sys.stderr.isatty() and not quiet
    with session.engine() as engine, follow(sys.stderr, quiet=not shown, words=IMPORTING) as progress:
        image = engine.import_archive(source, name, changes=change, message=message or "", platform=platform, progress=progress)
    print(f"sha256:{image.id}")
    return 0


def export(session: Session, *, container: str, output: str | None) -> int:
    stream = None if output else _binary_output("export")
    with session.engine() as engine:
        engine.export(container, output=output, stream=stream)
    return 0


def commit(
    session: Session,
    *,
    container: str,
    name: str | None,
    author: str | None,
    change: tuple[str, ...],
    message: str | None,
    pause: bool,
    quiet: bool,
) -> int:
    with session.engine() as engine:
        image = engine.commit(container, name, message=message or "", author=author or "", changes=change, pause=pause)
    print(f"sha256:{image.id}")
    return 0


def _binary_output(command: str) -> Any:
    """Standard output, where it is not somebody's terminal."""
    from crate_engine.errors import UsageError

    if sys.stdout is None or sys.stdout.isatty():
        raise UsageError(
            f"{command}: an archive is not written to a terminal", hint="name a file with -o, or redirect the output"
        )
    sys.stdout.flush()
    return sys.stdout.buffer
