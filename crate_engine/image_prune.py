"""`image prune`: every image that has no name, or with `all` every one that no container uses, and how much room that made.

Each is removed by itself, under the lock and by the rules of every removal: one that was named or used in the meantime stays.
"""

from __future__ import annotations

import os

from crate_engine import image_uses
from crate_engine.errors import ImageInUse, ImageNotFound
from crate_engine.layers.store import LayerStore
from crate_engine.store import listing
from crate_engine.store.images import ImageStore
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_engine.store.containers import ContainerStore
    from crate_engine.store.listing import Listed
    from crate_engine.store.paths import Store


@dataclass(frozen=True, slots=True)
class Pruned:
    """`lines` are docker's (`Untagged: …`, `Deleted: …`); `reclaimed` is in bytes, of compressed and of unpacked layers."""

    lines: tuple[str, ...]
    reclaimed: int


def prune(store: Store, containers: ContainerStore, *, all: bool, keep: Callable[[Listed], bool] | None = None) -> Pruned:
    """`keep` is asked about every image that would go. Raises StoreError."""
    images = ImageStore(store)
    used = image_uses.of(store, containers)
    lines: list[str] = []
    before = _sizes(store, images)
    for image in listing.of(images):
        if image.id in used or (image.names and not all) or (keep and keep(image)):
            continue
        lines += _removed(store, images, containers, image, all=all)
    after = _sizes(store, images)
    return Pruned(tuple(lines), sum(size for what, size in before.items() if what not in after))


def _removed(store: Store, images: ImageStore, containers: ContainerStore, image: Listed, *, all: bool) -> list[str]:
    names = [str(name) for name in image.names] if all else [f"sha256:{image.id}"]
    try:
        return [
            line
            for name in names or [f"sha256:{image.id}"]
            for line in images.remove(name, False, lambda: image_uses.of(store, containers))
        ]
    except (ImageInUse, ImageNotFound):
        return []  # it got a name or a container, or another process removed it


def _sizes(store: Store, images: ImageStore) -> dict[str, int]:
    """Bytes of every blob and of every unpacked layer, as its archive has them."""
    sizes = {}
    for digest in images.blobs.all():
        try:
            sizes[images.blobs.path(digest)] = os.stat(images.blobs.path(digest)).st_size
        except FileNotFoundError:
            continue
    layers = LayerStore(store)
    return sizes | {f"layer {digest}": layers.size(digest) for digest in layers.all()}
