"""The commands about images as a whole: what there is, their names, removal; in docker's lines."""

from __future__ import annotations

import sys
import time as clock

from crate_engine.cli import listing, render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_engine.cli.image_filters import ImageFilter
    from crate_engine.cli.session import Session
    from crate_engine.engine import Engine
    from crate_engine.reference import Reference
    from crate_engine.store.listing import Listed

NONE = "<none>"
HEADERS = {
    "ID": "IMAGE ID",
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "Containers": "CONTAINERS",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}
"""Of every field that a template can ask for."""
_NOT_COUNTED = "N/A"


def images(
    session: Session,
    *,
    repository: str | None,
    all: bool,
    quiet: bool,
    no_trunc: bool,
    digests: bool,
    filter: tuple[str, ...],
    format: str | None,
    noheading: bool,
) -> int:
    """`all` changes nothing: there are no intermediate images here."""
    texts = (*filter, *([f"reference={repository}"] if repository else []))
    now = clock.time()
    with session.engine() as engine:
        chosen = _filter(engine, texts, now) if texts else None
        known = [image for image in engine.listed_images() if chosen is None or chosen(image)]
    moments = {image.id: _moment(image.created) for image in known}
    known.sort(key=lambda image: moments[image.id], reverse=True)
    if quiet and format in (None, "", "table"):
        lines = (_id(image, whole=no_trunc) for image in known for _name in _names(image, chosen))
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 0
    whole_rows = digests or format not in (None, "", "table")
    rows = [
        _row(image, name, moments[image.id], now, whole_id=no_trunc, every_field=whole_rows)
        for image in known
        for name in _names(image, chosen)
    ]
    columns = ("Repository", "Tag", *(["Digest"] if digests else []), "ID", "CreatedSince", "Size")
    sys.stdout.write(listing.shown(rows, HEADERS, columns, form=format, heading=not noheading))
    return 0


def rmi(session: Session, *, images: tuple[str, ...], force: bool, ignore: bool, no_prune: bool) -> int:
    """`no_prune` changes nothing: there are no parents here."""
    from crate_engine.cli.session import report
    from crate_engine.errors import CrateError, ImageNotFound

    status = 0
    with session.engine() as engine:
        for name in images:
            try:
                lines = engine.remove_image(name, force=force)
            except CrateError as error:
                absent = isinstance(error, ImageNotFound)
                if absent and ignore:
                    continue
                failed = report(str(error), error.hint, session.failure)
                status = status if force and absent else failed
            else:
                sys.stdout.write("".join(f"{render.display(line)}\n" for line in lines))
                sys.stdout.flush()
    return status


def tag(session: Session, *, image: str, names: tuple[str, ...]) -> int:
    with session.engine() as engine:
        for name in names:
            engine.tag_image(image, name)
    return 0


def untag(session: Session, *, image: str, names: tuple[str, ...]) -> int:
    with session.engine() as engine:
        engine.untag_image(image, names)
    return 0


def exists(session: Session, *, image: str) -> int:
    """Status 1 where it does not, and not a word."""
    from crate_engine.errors import ImageNotFound

    with session.engine() as engine:
        try:
            engine.image(image)
        except ImageNotFound:
            return 1
    return 0


def prune(session: Session, *, all: bool, force: bool, filter: tuple[str, ...]) -> int:
    what = "all images without at least one container associated to them" if all else "all dangling images"
    if not force and not confirmed(f"WARNING! This will remove {what}.\n"):
        return 0
    with session.engine() as engine:
        chosen = _filter(engine, filter, clock.time()) if filter else None
        pruned = engine.prune_images(all=all, keep=_not(chosen) if chosen else None)
    if pruned.lines:
        print("Deleted Images:")
        sys.stdout.write("".join(f"{render.display(line[:1].lower() + line[1:])}\n" for line in pruned.lines))
        print()
    print(f"Total reclaimed space: {render.size(pruned.reclaimed)}")
    return 0


def confirmed(warning: str) -> bool:
    """Whether the answer on standard input begins with y, as docker asks."""
    sys.stdout.write(f"{warning}Are you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline() if sys.stdin is not None else ""
    if not answer.endswith("\n"):
        print()
    return answer.strip().lower() in ("y", "yes")


def _filter(engine: Engine, texts: tuple[str, ...], now: float) -> ImageFilter:
    from crate_engine.cli.image_filters import ImageFilter

    return ImageFilter(
        texts,
        now=now,
        created=lambda name: engine.image(name).created,
        labels=lambda image: engine.image(f"sha256:{image.id}").config.labels,
    )


def _not(chosen: ImageFilter) -> Callable[[Listed], bool]:
    return lambda image: not chosen(image)


def _moment(created: str) -> float:
    try:
        return render.epoch(created) if created else 0
    except ValueError:  # another program's annotation
        return 0


def _names(image: Listed, chosen: ImageFilter | None) -> list[Reference | None]:
    """The names of the image that are listed; one without tags is shown by where it came from."""
    names = image.names or image.repo_digests
    return [name for name in names if chosen is None or chosen.shows(name)] or [None]


def _row(image: Listed, name: Reference | None, made: float, now: float, *, whole_id: bool, every_field: bool) -> dict[str, Any]:
    """What the table shows, or every field."""
    size = render.size(image.size)
    row = {
        "CreatedSince": f"{render.age(now - made)} ago" if made else _NOT_COUNTED,
        "ID": _id(image, whole=whole_id),
        "Repository": name.familiar_name if name else NONE,
        "Size": size,
        "Tag": (name.tag if name else None) or NONE,
    }
    if not every_field:
        return row
    return row | {
        "Containers": _NOT_COUNTED,
        "CreatedAt": _local(made) if made else _NOT_COUNTED,
        "Digest": _digest(image, name),
        "SharedSize": _NOT_COUNTED,
        "UniqueSize": _NOT_COUNTED,
        "VirtualSize": size,
    }


def _local(moment: float) -> str:
    """As Go prints a time: in the zone of whoever asks."""
    return clock.strftime("%Y-%m-%d %H:%M:%S %z %Z", clock.localtime(moment))


def _digest(image: Listed, name: Reference | None) -> str:
    """The digest by which this repository offers the image."""
    known = (reference.digest for reference in image.repo_digests if name and reference.name == name.name)
    return str(next(known, None) or NONE)


def _id(image: Listed, *, whole: bool) -> str:
    return f"sha256:{image.id}" if whole else render.short_id(image.id)
