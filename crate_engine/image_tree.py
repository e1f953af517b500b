"""`image tree`: which of an image's layers other images have as well, what each adds, and which images stand on it."""

from __future__ import annotations

from crate_engine.image_history import layer_sizes
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store


@dataclass(frozen=True, slots=True)
class TreeLayer:
    """`digest` is the diff id, `size` what the layer adds, in bytes. An image is named by its first name, or its id."""

    digest: str
    size: int
    top_of: tuple[str, ...]
    """All names of the images whose uppermost layer this is."""
    shared_with: tuple[str, ...]
    """The other images that have it, wherever in their stack."""


@dataclass(frozen=True, slots=True)
class Tree:
    id: str
    names: tuple[str, ...]
    size: int
    own_size: int
    """Bytes of the layers that no other image has: what removing the image would free."""
    layers: tuple[TreeLayer, ...]
    required_by: tuple[str, ...]
    """The images whose lowest layers are all of this one's."""


def of(store: Store, image: Image, images: Sequence[Image]) -> Tree:
    """`images` are all there are."""
    stack = image.config.diff_ids
    others = [other for other in images if other.id != image.id]
    having = {diff_id: [other for other in others if diff_id in other.config.diff_ids] for diff_id in stack}
    sizes = layer_sizes(store, image)
    layers = []
    for place, (diff_id, size) in enumerate(zip(stack, sizes, strict=True)):
        tops = [
            *([image] if place == len(stack) - 1 else []),
            *(one for one in having[diff_id] if one.config.diff_ids[-1] == diff_id),
        ]
        shared = tuple(called(other) for other in having[diff_id])
        layers.append(TreeLayer(str(diff_id), size, tuple(name for top in tops for name in _names(top)), shared))
    own = {diff_id: size for diff_id, size in zip(stack, sizes, strict=True) if not having[diff_id]}
    above = [
        called(other)
        for other in others
        if len(other.config.diff_ids) > len(stack) and other.config.diff_ids[: len(stack)] == stack
    ]
    return Tree(image.id, _names(image), sum(sizes), sum(own.values()), tuple(layers), tuple(above) if stack else ())


def called(image: Image) -> str:
    return next(iter(_names(image)), image.id[:12])


def _names(image: Image) -> tuple[str, ...]:
    return tuple(name.familiar for name in image.names)
