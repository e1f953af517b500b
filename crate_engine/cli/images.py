"""The commands about images, in docker's lines."""

from __future__ import annotations

import sys
import time as clock

from crate_engine.cli import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.cli.session import Session
    from crate_engine.reference import Reference
    from crate_engine.store.images import Image

NONE = "<none>"


def images(session: Session, *, quiet: bool, no_trunc: bool, digests: bool) -> int:
    with session.engine() as engine:
        known = sorted(engine.images(), key=lambda image: render.epoch(image.created) if image.created else 0, reverse=True)
    if quiet:
        for image in known:
            for _name in image.names or ("",):
                print(_id(image, whole=no_trunc))
        return 0
    now = clock.time()
    rows = [row for image in known for row in _rows(image, now, whole=no_trunc, digests=digests)]
    header = ("REPOSITORY", "TAG", *(["DIGEST"] if digests else []), "IMAGE ID", "CREATED", "SIZE")
    sys.stdout.write(render.table(header, rows))
    return 0


def rmi(session: Session, *, images: tuple[str, ...], force: bool) -> int:
    from crate_engine.cli.session import report
    from crate_engine.errors import CrateError, ImageNotFound

    status = 0
    with session.engine() as engine:
        for name in images:
            try:
                lines = engine.remove_image(name, force=force)
            except CrateError as error:
                failed = report(str(error), error.hint, session.failure)
                status = status if force and isinstance(error, ImageNotFound) else failed
            else:
                sys.stdout.write("".join(f"{render.display(line)}\n" for line in lines))
                sys.stdout.flush()
    return status


def _rows(image: Image, now: float, *, whole: bool, digests: bool) -> list[tuple[str, ...]]:
    """A row for each name of the image, as docker has it; an image without tags is shown by where it came from."""
    tail = (_id(image, whole=whole), _created(image, now), render.size(image.size))
    references = image.names or image.repo_digests
    names = [(reference.familiar_name, reference.tag or NONE, _digest(image, reference)) for reference in references]
    return [(name, tag, *([digest] if digests else []), *tail) for name, tag, digest in names or [(NONE, NONE, NONE)]]


def _digest(image: Image, name: Reference) -> str:
    """The digest by which this repository offers the image."""
    known = (reference.digest for reference in image.repo_digests if reference.name == name.name)
    return str(next(known, None) or NONE)


def _id(image: Image, *, whole: bool) -> str:
    return f"sha256:{image.id}" if whole else render.short_id(image.id)


def _created(image: Image, now: float) -> str:
    return f"{render.age(now - render.epoch(image.created))} ago" if image.created else "N/A"
