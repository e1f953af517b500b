"""Looking through the containers of a store: records, names, and the directories that each stands on. Changes nothing."""

from __future__ import annotations

import os

from crate_engine.errors import StoreError
from crate_engine.store.containers import ContainerStore
from crate_engine.upkeep.finding import CONTAINER, LEFTOVER, NAME, Finding
from crate_engine.upkeep.leftovers import is_locked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from crate_engine.store.containers import Record
    from crate_engine.store.paths import Store


def examine(store: Store, image_ids: set[str] | None) -> Iterator[Finding]:
    """`image_ids` are those of all images, or None where the images are too damaged to tell."""
    containers = ContainerStore(store)
    for identity in sorted(os.listdir(store.containers)):
        directory = containers.directory(identity)
        try:
            record = containers.read(identity)
        except StoreError as error:
            yield Finding(CONTAINER, identity, f"its record is damaged: {error}; what it wrote is in {directory}/upper")
            continue
        if record is not None:
            yield from _container(store, containers, record, image_ids)
        elif not is_locked(directory) and not os.path.exists(f"{directory}/container.json"):
            yield Finding(LEFTOVER, f"containers/{identity}", "a container that was not created to the end", False)
    for name in sorted(os.listdir(store.names)):
        yield from _name(store, containers, name)


def _container(store: Store, containers: ContainerStore, record: Record, image_ids: set[str] | None) -> Iterator[Finding]:
    directory = containers.directory(record.id)
    if not os.path.isdir(directory):
        return  # removed meanwhile
    if image_ids is not None and record.image_id not in image_ids:
        yield Finding(CONTAINER, record.id, f"its image {record.image_id[:12]} ({record.image}) is not in the index")
    wanted = ["rootfs"] if record.snapshot["kind"] == "copy" else ["rootfs", "upper", "work"]
    for name in wanted:
        if not os.path.isdir(f"{directory}/{name}"):
            lost = "; what it wrote is lost" if name != "work" and (name != "rootfs" or len(wanted) == 1) else ""
            yield Finding(CONTAINER, record.id, f"its directory {name} is missing{lost}")
    link = containers.name_link(record.name)
    if _target(link) != record.id and os.path.isdir(directory):
        other = os.path.lexists(link)
        yield Finding(NAME, record.name, f"it does not lead to container {record.id}" + (", but to another" if other else ""))


def _name(store: Store, containers: ContainerStore, name: str) -> Iterator[Finding]:
    target = _target(containers.name_link(name))
    if target is None:
        if os.path.lexists(containers.name_link(name)):
            yield Finding(NAME, name, "it is no name of a container")
    elif not os.path.lexists(containers.directory(target)):
        yield Finding(LEFTOVER, f"names/{name}", "its container is gone", False)


def _target(link: str) -> str | None:
    try:
        target = os.readlink(link)
    except OSError:
        return None
    return target if target and "/" not in target and not target.startswith(".") else None
