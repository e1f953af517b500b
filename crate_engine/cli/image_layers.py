"""The commands about what an image is made of: history, tree, mount and unmount; docker's lines for the first, podman's for the others."""

from __future__ import annotations

import sys
import time as clock

from crate_engine.cli import listing, render
from crate_engine.errors import CrateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from crate_engine.cli.session import Session
    from crate_engine.engine import Engine
    from crate_engine.image_history import Step
    from crate_engine.image_tree import Tree

_HISTORY = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}
_MISSING = "<missing>"
_CREATED_BY = 45
"""Characters of the column CREATED BY."""


def history(session: Session, *, image: str, quiet: bool, no_trunc: bool, human: bool, format: str | None) -> int:
    with session.engine() as engine:
        found = engine.image(image)
        steps = engine.image_history(image)
    identity = f"sha256:{found.id}" if no_trunc else render.short_id(found.id)
    now = clock.time()
    rows = [
        _step(step, identity if place == 0 else _MISSING, now, whole=no_trunc, human=human)
        for place, step in enumerate(reversed(steps))
    ]
    if quiet and not format:
        sys.stdout.write("".join(f"{row['ID']}\n" for row in rows))
        return 0
    columns = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
    sys.stdout.write(listing.shown(rows, _HISTORY, columns, form=format))
    return 0


def _step(step: Step, identity: str, now: float, *, whole: bool, human: bool) -> dict[str, Any]:
    try:
        made = render.epoch(step.created) if step.created else 0
    except ValueError:
        made = 0
    at = clock.strftime("%Y-%m-%dT%H:%M:%S", clock.localtime(made)) + _zone(made) if made else "N/A"
    since = f"{render.age(now - made)} ago" if made else "N/A"
    by = step.created_by.replace("\t", " ")
    return {
        "Comment": step.comment,
        "CreatedAt": at,
        "CreatedBy": by if whole else render.shorten(by, _CREATED_BY),
        "CreatedSince": since if human else at,
        "ID": identity,
        "Size": render.size(step.size) if human else str(step.size),
    }


def _zone(moment: float) -> str:
    zone = clock.strftime("%z", clock.localtime(moment))
    return "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"


def tree(session: Session, *, images: tuple[str, ...], whatrequires: bool) -> int:
    """Of the images named, or of all."""
    with session.engine() as engine:
        names = images or tuple(f"sha256:{image.id}" for image in engine.listed_images())
        found = [engine.image_tree(name) for name in names]
    texts = [_required(one) if whatrequires else _layers(one) for one in found]
    sys.stdout.write("\n".join(texts))
    return 0


def _layers(tree: Tree) -> str:
    """The layers, the lowest first, each with the images that have it as well."""
    width = max((len(render.size(layer.size)) for layer in tree.layers), default=0)
    rows = []
    for place, layer in enumerate(tree.layers):
        text = f"ID: {render.short_id(layer.digest)} Size: {render.size(layer.size):>{width}}"
        if layer.top_of:
            text += f" Top Layer of: [{' '.join(layer.top_of)}]"
        if layer.shared_with:
            text += f" Shared with: [{' '.join(layer.shared_with)}]"
        rows.append(f"{'└──' if place == len(tree.layers) - 1 else '├──'} {text}")
    return _head(tree) + "".join(f"{render.display(row)}\n" for row in ["Image Layers", *rows])


def _required(tree: Tree) -> str:
    """The images that stand on this one."""
    rows = [f"{'└──' if place == len(tree.required_by) - 1 else '├──'} {name}" for place, name in enumerate(tree.required_by)]
    return _head(tree) + "".join(f"{render.display(row)}\n" for row in ["Required by", *(rows or ["no other image"])])


def _head(tree: Tree) -> str:
    lines = (
        f"Image ID: {render.short_id(tree.id)}",
        f"Tags:     [{' '.join(tree.names)}]",
        f"Size:     {render.size(tree.size)}, {render.size(tree.own_size)} of it in no other image",
    )
    return "".join(f"{render.display(line)}\n" for line in lines)


def mount(session: Session, *, images: tuple[str, ...], all: bool, format: str | None) -> int:
    """The path of each; without a name what is mounted."""
    if format not in (None, "json"):
        raise UsageError(f'image mount: --format: "{format}" is not json')
    if all and images:
        raise UsageError("image mount: --all takes no IMAGE")
    with session.engine() as engine:
        if not images and not all:
            return _mounted(engine, as_json=format == "json")
        names = images or tuple(f"sha256:{image.id}" for image in engine.listed_images())
        return _each(session, names, lambda name: _pair(name, engine.mount_image(name), alone=len(names) == 1))


def _pair(name: str, path: str, *, alone: bool) -> str:
    return path if alone else f"{name} {path}"


def _mounted(engine: Engine, *, as_json: bool) -> int:
    mounts = engine.mounted_images()
    names = {image.id: [name.familiar for name in image.names] for image in engine.listed_images()}
    if as_json:
        import json

        rows = [
            {"id": identity, "Repositories": names.get(identity, []), "mountpoint": path} for identity, path in mounts.items()
        ]
        print(render.json_safe(json.dumps(rows, indent=4, ensure_ascii=False)))
        return 0
    for identity, path in mounts.items():
        print(render.display(f"{(names.get(identity) or [render.short_id(identity)])[0]} {path}"))
    return 0


def unmount(session: Session, *, images: tuple[str, ...], all: bool, force: bool) -> int:
    """The ids of those that were unmounted."""
    if bool(images) == all:
        raise UsageError("image unmount: IMAGE is missing" if not images else "image unmount: --all takes no IMAGE")
    with session.engine() as engine:
        names = images or tuple(f"sha256:{identity}" for identity in engine.mounted_images())
        return _each(session, names, lambda name: engine.unmount_image(name, force=force))


def _each(session: Session, names: Sequence[str], act: Callable[[str], str]) -> int:
    from crate_engine.cli.session import report

    status = 0
    for name in names:
        try:
            print(act(name))
        except CrateError as error:
            status = report(str(error), error.hint, session.failure)
    return status
