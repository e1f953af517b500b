"""How an image came about, step by step: the history of its configuration, with the size of the layer that each step made."""

from __future__ import annotations

from crate_engine.layers.store import LayerStore
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store


@dataclass(frozen=True, slots=True)
class Step:
    """`size` is in bytes: of the unpacked layer, or where that is not here of the compressed one; 0 for a step that made none."""

    created: str
    created_by: str
    comment: str
    size: int


def of(store: Store, image: Image) -> list[Step]:
    """The first step first. Layers that no step claims follow as steps that say nothing; steps are trusted no further."""
    sizes = layer_sizes(store, image)
    steps = []
    for entry in image.config.history:
        size = 0 if entry.empty_layer or not sizes else sizes.pop(0)
        steps.append(Step(entry.created, entry.created_by, entry.comment, size))
    return steps + [Step("", "", "", size) for size in sizes]


def layer_sizes(store: Store, image: Image) -> list[int]:
    """In bytes, the lowest layer first."""
    layers = LayerStore(store)
    pairs = zip(image.config.diff_ids, image.manifest.layers, strict=True)
    return [layers.size(diff_id) or layer.size for diff_id, layer in pairs]
