"""The commands about the store as a whole: system check, system df, system prune."""

from __future__ import annotations

import sys
import time

from crate_engine.cli import listing, render
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_engine.cli.image_filters import ImageFilter
    from crate_engine.cli.session import Session
    from crate_engine.engine import Engine
    from crate_engine.reference import Reference
    from crate_engine.store.containers import Record
    from crate_engine.upkeep.finding import Finding, Report
    from crate_engine.upkeep.usage import ImageUsage, Usage


@dataclass(frozen=True, slots=True)
class Dated:
    """A container, as the filters of images take it."""

    id: str
    created: str
    names: tuple[Reference, ...] = ()
    repo_digests: tuple[Reference, ...] = ()


_FILTERS = ("until", "label", "label!")
_DAMAGED = 1
_HEADERS = {"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE"}
_IMAGE_COLUMNS = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS")
_CONTAINER_COLUMNS = ("CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES")


def check(session: Session, *, full: bool, repair: bool, json: bool) -> int:
    """Status 1 where something is damaged, and was not repaired."""
    repaired: tuple[Finding, ...] = ()
    failed: dict[Finding, str] = {}
    with session.engine() as engine:
        if repair:
            outcome = engine.repair(full=full)
            report, repaired, failed = outcome.report, outcome.repaired, dict(outcome.failed)
        else:
            report = engine.check(full=full)
    findings = list(dict.fromkeys((*report.findings, *repaired, *failed)))
    damaged = [finding for finding in findings if finding.damage and finding not in repaired]
    left = sum(not finding.damage and finding not in repaired for finding in findings)
    if json:
        print(_document(report, findings, repaired, failed))
    else:
        for finding in findings:
            print(render.display(_line(finding, finding in repaired, failed.get(finding))))
        print(_summary(report, len(damaged), left, len(repaired), repair=repair))
    return _DAMAGED if damaged else 0


def _line(finding: Finding, repaired: bool, failure: str | None) -> str:
    if repaired:
        return f"{'repaired' if finding.damage else 'finished'}: {finding}"
    word = "damaged" if finding.damage else "unfinished"
    return f"{word}: {finding}" + (f"; not repaired: {failure}" if failure else "")


def _summary(report: Report, damaged: int, left: int, repaired: int, *, repair: bool) -> str:
    counts = (("image", report.images), ("blob", report.blobs), ("layer", report.layers), ("container", report.containers))
    seen = ", ".join(_count(number, noun) for noun, number in counts)
    if damaged:
        hint = "" if repair else "; crate system check --repair"
        return f"{seen}: {damaged} damaged{hint}"
    if left:
        return f"{seen}: nothing is damaged, {left} unfinished" + ("" if repair else "; crate system check --repair removes that")
    return f"{seen}: all is well" + (f", {repaired} repaired" if repaired else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _document(report: Report, findings: list[Finding], repaired: tuple[Finding, ...], failed: dict[Finding, str]) -> str:
    from json import dumps

    listed = [
        {
            "kind": finding.kind,
            "name": finding.name,
            "problem": finding.problem,
            "damage": finding.damage,
            "repaired": finding in repaired,
            "failure": failed.get(finding),
        }
        for finding in findings
    ]
    counts = {"images": report.images, "blobs": report.blobs, "layers": report.layers, "containers": report.containers}
    return render.json_safe(dumps(counts | {"findings": listed}, indent=4, ensure_ascii=False))


def df(session: Session, *, verbose: bool, format: str | None) -> int:
    with session.engine() as engine:
        usage = engine.usage()
        containers = engine.containers(all=True)
    if verbose:
        sys.stdout.write(_verbose(usage, containers, format))
    else:
        sys.stdout.write(listing.shown(_rows(usage, containers), _HEADERS, tuple(_HEADERS), form=format))
    return 0


def _rows(usage: Usage, containers: list[Any]) -> list[dict[str, str]]:
    running = {container.id for container in containers if container.status in ("running", "starting", "stopping")}
    sizes = usage.containers
    written = sum(sizes.values())
    idle = sum(size for identity, size in sizes.items() if identity not in running)
    used = sum(image.containers > 0 for image in usage.images)
    return [
        _row("Images", len(usage.images), used, usage.images_size, usage.images_reclaimable),
        _row("Containers", len(sizes), len(running), written, idle),
        _row("Local Volumes", 0, 0, 0, 0),
        _row("Build Cache", 0, 0, 0, 0) | {"Reclaimable": "0B"},
    ]


def _row(kind: str, total: int, active: int, size: int, reclaimable: int) -> dict[str, str]:
    share = f" ({100 * reclaimable // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(total),
        "Active": str(active),
        "Size": render.size(size),
        "Reclaimable": f"{render.size(reclaimable)}{share}",
    }


def _verbose(usage: Usage, containers: list[Any], form: str | None) -> str:
    images = [row for image in usage.images for row in _image_rows(image)]
    rows = [_container_row(container, usage.containers.get(container.id, 0)) for container in containers]
    if form:
        from crate_engine.cli.template import Template
        from crate_engine.cli.template_functions import json

        value = {"Images": [_named(_IMAGE_COLUMNS, row) for row in images], "Volumes": [], "BuildCache": []}
        value["Containers"] = [_named(_CONTAINER_COLUMNS, row) for row in rows]
        return (json(value) if form == "json" else Template(form, escapes=True).render(value)) + "\n"
    parts = (
        ("Images space usage:", render.table(_IMAGE_COLUMNS, images)),
        ("Containers space usage:", render.table(_CONTAINER_COLUMNS, rows)),
        ("Local Volumes space usage:", render.table(("VOLUME NAME", "LINKS", "SIZE"), [])),
        (
            "Build cache usage: 0B",
            render.table(("CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"), []),
        ),
    )
    return "\n".join(f"{title}\n\n{table}" for title, table in parts)


def _named(columns: tuple[str, ...], row: tuple[str, ...]) -> dict[str, str]:
    """Under docker's names of the fields: `SHARED SIZE` is SharedSize, `IMAGE ID` is ID."""
    short = {"IMAGE ID": "ID", "CONTAINER ID": "ID", "CREATED": "CreatedSince"}
    return {short.get(column) or column.title().replace(" ", ""): cell for column, cell in zip(columns, row, strict=True)}


def _image_rows(image: ImageUsage) -> list[tuple[str, ...]]:
    created = f"{render.age(time.time() - render.epoch(image.created))} ago" if image.created else "N/A"
    sizes = map(render.size, (image.size, image.size - image.unique, image.unique))
    tail = (render.short_id(image.id), created, *sizes, str(image.containers))
    names = [(name.familiar_name, name.tag or "<none>") for name in image.names] or [("<none>", "<none>")]
    return [(*name, *tail) for name in names]


def _container_row(container: Any, size: int) -> tuple[str, ...]:
    now = time.time()
    since = container.finished or container.started or container.created
    if container.running:
        since = container.started or container.created
    return (
        render.short_id(container.id),
        container.image,
        render.quoted_command(container.command),
        "0",
        render.size(size),
        f"{render.age(now - render.epoch(container.created))} ago",
        render.status(container.status, exit_code=container.exit_code, since=now - render.epoch(since)),
        container.name,
    )


def prune(session: Session, *, all: bool, force: bool, filter: tuple[str, ...]) -> int:
    """Asks first, as docker does, and does nothing without an answer that begins with y."""
    from crate_engine.cli.images import confirmed

    for text in filter:
        if text.partition("=")[0] not in _FILTERS or "=" not in text:
            from crate_engine.errors import UsageError

            raise UsageError(
                f'system prune: invalid filter "{text}"', hint="there are until=TIME, label=NAME[=VALUE] and label!=…"
            )
    if not force and not confirmed(_warning(filter, all=all)):
        return 0
    with session.engine() as engine:
        images, containers = (_chosen(engine, filter), _chosen_records(filter)) if filter else (None, None)
        pruned = engine.prune(
            all=all,
            keep_container=(lambda record: not containers(record)) if containers else None,
            keep_image=(lambda image: not images(image)) if images else None,
        )
    for title, lines in (("Deleted Containers:", pruned.containers), ("Deleted Images:", pruned.images)):
        if lines:
            shown = [line[:1].lower() + line[1:] for line in lines]
            print("\n".join((title, *map(render.display, shown), "")))
    print(f"Total reclaimed space: {render.size(pruned.reclaimed)}")
    return 0


def _warning(filters: tuple[str, ...], *, all: bool) -> str:
    images = "all images without at least one container associated to them" if all else "all dangling images"
    lines = ["WARNING! This will remove:", "  - all stopped containers", f"  - {images}", ""]
    if filters:
        lines += ["  Items to be pruned will be filtered with:", *(f"  - {text}" for text in filters), ""]
    return "\n".join(map(render.display, lines)) + "\n"


def _chosen(engine: Engine, filters: tuple[str, ...]) -> ImageFilter:
    from crate_engine.cli.image_filters import ImageFilter

    labels = {image.id: image.config.labels for image in engine.images()}
    return ImageFilter(filters, now=time.time(), created=lambda name: "", labels=lambda image: labels.get(image.id, {}))


def _chosen_records(filters: tuple[str, ...]) -> Callable[[Record], bool]:
    """The same filters of containers, whose labels are the annotations of their configuration."""
    from crate_engine.cli.image_filters import ImageFilter
    from crate_engine.container import timestamp

    known: dict[str, Record] = {}
    matches = ImageFilter(
        filters, now=time.time(), created=lambda name: "", labels=lambda one: known[one.id].config.get("annotations", {})
    )

    def chosen(record: Record) -> bool:
        known[record.id] = record
        return matches(Dated(record.id, timestamp(record.created)))

    return chosen
