"""How much room images and containers take, and how much of it a prune would free.

An image's size is that of its blobs and of its unpacked layers (as archives), each counted once; a container's what was written in its root.
"""

from __future__ import annotations

from collections import Counter

from crate_engine.errors import CrateError
from crate_engine.layers.store import LayerStore
from crate_engine.oci.digest import Digest
from crate_engine.store import reclaim
from crate_engine.store.images import ImageStore
from crate_engine.upkeep import measure
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from crate_engine.reference import Reference
    from crate_engine.store.containers import Record
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """Bytes: `size` of all it needs, `unique` of what no other image needs. `containers` were made from it."""

    id: str
    names: tuple[Reference, ...]
    created: str
    size: int
    unique: int
    containers: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes. `reclaimable` is what goes with all images that no container uses, and with all containers that do not run."""

    images: tuple[ImageUsage, ...]
    images_size: int
    images_reclaimable: int
    containers: dict[str, int]
    """By id, what was written in its root."""


def of(store: Store, user_namespace: UserNamespace, records: Collection[Record]) -> Usage:
    """Images that cannot be read are left out. Raises StoreError where the index itself is damaged."""
    images = ImageStore(store)
    sizes = _Sizes(store, images)
    made = Counter(record.image_id for record in records)
    found = images.all()
    needs = _needs_of_all(images)
    users = Counter(one for image in found for one in needs[image.id])
    kept = {f"layer {name}" for name in reclaim.container_layers(store)}
    kept = kept.union(*(needed for image_id, needed in needs.items() if image_id in made))
    listed = tuple(
        ImageUsage(
            image.id,
            image.names or image.repo_digests,
            image.created,
            sizes.total(needs[image.id]),
            sizes.total([one for one in needs[image.id] if users[one] == 1]),
            made[image.id],
        )
        for image in found
    )
    measured = measure.sizes(user_namespace, [_written(store, record) for record in records])
    containers = {record.id: size for record, size in zip(records, measured, strict=True)}
    everything = kept.union(*needs.values())
    return Usage(listed, sizes.total(everything), sizes.total(everything - kept), containers)


def _needs_of_all(images: ImageStore) -> dict[str, set[str]]:
    """By the image's id; the manifests that share a configuration together."""
    needs: dict[str, set[str]] = {}
    for entry in {entry.digest: entry for entry in images.entries()}.values():
        try:
            image = images.read([entry])
        except CrateError:
            continue
        needs.setdefault(image.id, set()).update(_needs(image))
    return needs


def written(store: Store, user_namespace: UserNamespace, record: Record) -> int:
    """Bytes in the root of one container that are not its image's."""
    return measure.size(user_namespace, [_written(store, record)])


def _written(store: Store, record: Record) -> str:
    return f"{store.containers}/{record.id}/{'rootfs' if record.snapshot['kind'] == 'copy' else 'upper'}"


def _needs(image: Image) -> set[str]:
    """Names of blobs and layers; those of layers are told apart, because an archive that is not compressed has the digest of its layer."""
    return {*map(str, image.blobs), *(f"layer {diff_id.hex}" for diff_id in image.config.diff_ids)}


class _Sizes:
    """Each looked up once."""

    def __init__(self, store: Store, images: ImageStore) -> None:
        self._layers = LayerStore(store)
        self._images = images
        self._known: dict[str, int] = {}

    def total(self, names: Collection[str]) -> int:
        return sum(self._one(name) for name in names)

    def _one(self, name: str) -> int:
        if name not in self._known:
            self._known[name] = self._look_up(name)
        return self._known[name]

    def _look_up(self, name: str) -> int:
        kind, space, digits = name.partition(" ")
        try:
            return self._layers.size(Digest("sha256", digits)) if space else self._images.blobs.size(Digest.parse(kind))
        except (CrateError, OSError):
            return 0
