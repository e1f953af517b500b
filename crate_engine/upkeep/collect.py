"""Removing what killed commands left behind, wherever in the store; what living processes work at stays."""

from __future__ import annotations

import os
from contextlib import suppress

from crate_engine.errors import CrateError
from crate_engine.layers.store import LayerStore, empty_trash
from crate_engine.store import durable, leases, reclaim
from crate_engine.store.containers import ContainerStore
from crate_engine.store.images import ImageStore
from crate_engine.store.locks import lock
from crate_engine.upkeep import leftovers, measure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


def collect(store: Store, user_namespace: UserNamespace) -> int:
    """Returns the bytes that were freed. Raises StoreError where something cannot be removed; all the rest is gone then."""
    freed = measure.size(user_namespace, [store.ingest, store.trash])
    images = ImageStore(store)
    leases.sweep(store)
    images.blobs.sweep(set())
    LayerStore(store).sweep()
    _foreign(store)
    with lock(store, "image"):
        freed += _images(store, images)
    _containers(store)
    freed -= measure.size(user_namespace, [store.ingest])
    empty_trash(store, user_namespace)
    return max(0, freed)


def _images(store: Store, images: ImageStore) -> int:
    """Blobs and layers of no image, and files that are no blobs. Holds the lock `image`."""
    durable.sweep(store.oci)
    try:
        entries = images.entries()
    except CrateError:
        return 0  # a damaged index: nothing tells what is needed
    if not entries and not os.path.exists(f"{store.oci}/index.json"):
        return 0  # it may be lost
    freed = reclaim.collect(images, store, entries)
    for algorithm in ("sha256", "sha512"):
        directory = f"{store.oci}/blobs/{algorithm}"
        blobs = {digest.hex for digest in images.blobs.all() if digest.algorithm == algorithm}
        for name in os.listdir(directory) if os.path.isdir(directory) else ():
            if name not in blobs:
                durable.remove_tree(f"{directory}/{name}")
    return freed.size


def _foreign(store: Store) -> None:
    """What no part of crate makes: into the trash, wherever it may be removed from then."""
    for finding in list(leftovers.examine(store)):
        place, _, name = finding.name.partition("/")
        if place == "ingest":
            with suppress(FileNotFoundError):
                durable.move_to_trash(f"{store.ingest}/{name}", store.trash)


def _containers(store: Store) -> None:
    containers = ContainerStore(store)
    for identity in os.listdir(store.containers):
        if not os.path.exists(f"{containers.directory(identity)}/container.json"):
            with suppress(NotADirectoryError):
                containers.sweep(identity)
    for name in os.listdir(store.names):
        link = containers.name_link(name)
        with suppress(OSError):
            target = os.readlink(link)
            if "/" not in target and not os.path.lexists(containers.directory(target)):
                os.unlink(link)
    for identity in os.listdir(store.run_containers):
        if not os.path.lexists(containers.directory(identity)) and not containers.condition(identity).monitor:
            durable.remove_tree(containers.run_directory(identity))
