"""`crate push`, in docker's lines: a line for each layer, then the digest that the registry knows the image by."""

from __future__ import annotations

import sys

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.cli.progress import Lines
    from crate_engine.cli.session import Session
    from crate_engine.push import Pushed


def push(
    session: Session,
    *,
    image: str,
    destination: str | None,
    quiet: bool,
    digestfile: str | None,
    compression_format: str | None,
    compression_level: int | None,
    force_compression: bool,
    authfile: str | None,
    tls_verify: bool | None,
) -> int:
    from crate_engine.cli.progress import PUSHING, follow

    watched = sys.stdout.isatty() and not quiet
    with session.engine() as engine, follow(sys.stdout, quiet=not watched, words=PUSHING) as bars:
        pushed = engine.push(
            image,
            destination,
            compression=compression_format,
            level=compression_level,
            recompress=force_compression,
            progress=_Bars(bars) if watched else None if quiet else _Lines(),
            access=engine.access(authfile=authfile, tls_verify=tls_verify),
        )
    if digestfile:
        _write(digestfile, str(pushed.digest))
    print(render.display(str(pushed.target) if quiet else _result(pushed)))
    return 0


def _result(pushed: Pushed) -> str:
    tag = getattr(pushed.target, "tag", None)
    return f"{tag or pushed.target}: digest: {pushed.digest} size: {pushed.size}"


def _write(path: str, text: str) -> None:
    from crate_engine.archive.writing import OutputFile

    with OutputFile(path, 0o644) as file:
        file.write(text.encode())


class _Bars:
    """The same for somebody who watches."""

    def __init__(self, bars: Lines) -> None:
        self._bars = bars

    def started(self, target: object) -> None:
        self._bars.resolved(target, "")

    def preparing(self, digest: object, size: int) -> None:
        self._bars.layer_started(digest, size)

    def advanced(self, digest: object, count: int) -> None:
        self._bars.advanced(digest, count)

    def pushed(self, digest: object, how: str) -> None:
        self._bars.layer_done(digest, how != "Pushed")


class _Lines:
    """One line when a layer begins, and one when it is there."""

    def started(self, target: object) -> None:
        name = getattr(target, "name", None)
        self._say(f"The push refers to repository [{name}]" if name else f"Writing {target}")

    def preparing(self, digest: object, size: int) -> None:
        self._say(f"{render.short_id(str(digest))}: Preparing")

    def advanced(self, digest: object, count: int) -> None:
        pass

    def pushed(self, digest: object, how: str) -> None:
        self._say(f"{render.short_id(str(digest))}: {how}")

    def _say(self, line: str) -> None:
        sys.stdout.write(render.display(line) + "\n")
        sys.stdout.flush()
