"""Making an image from one new layer: what commit and import share. The layer streams through here, hashed before and after it is compressed."""

from __future__ import annotations

import hashlib
import time

from crate_engine import limits
from crate_engine.container import timestamp
from crate_engine.errors import LayerError, UsageError
from crate_engine.intake import Resolved, take_in
from crate_engine.layers.compress import deflate
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.manifest import Manifest
from crate_engine.oci.strict_json import dump
from crate_engine.reference import Reference
from crate_engine.store.new_blob import NewBlob
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from crate_engine.layers.transfer import Progress
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


@dataclass(frozen=True, slots=True)
class NewLayer:
    descriptor: Descriptor
    diff_id: Digest


class Hashed:
    """Blocks that are counted and hashed as they pass."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = blocks
        self._hash = hashlib.sha256()
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for block in self._blocks:
            self._hash.update(block)
            self.size += len(block)
            if self.size > limits.LAYER_BYTES:
                raise LayerError(f"pack layer: it has more than {limits.LAYER_BYTES} bytes")
            yield block

    @property
    def digest(self) -> Digest:
        return Digest("sha256", self._hash.hexdigest())


def write_layer(blob: NewBlob, archive: Iterable[bytes], compression: str, level: int | None = None) -> NewLayer:
    """An uncompressed archive into a blob, compressed so."""
    content = Hashed(archive)
    for block in deflate(content, compression, level):
        blob.write(block)
    return NewLayer(describe(blob, compression), content.digest)


def describe(blob: NewBlob, compression: str) -> Descriptor:
    kind = media_types.OCI_LAYER + (f"+{compression}" if compression else "")
    return Descriptor(kind, blob.digest, blob.size)


def keep(
    store: Store,
    config: dict[str, Any],
    layers: Sequence[Descriptor],
    name: Reference | None,
    new_blobs: Sequence[NewBlob],
    *,
    user_namespace: UserNamespace,
    what: str,
    progress: Progress | None = None,
) -> Image:
    """The image of this configuration, which names its diff ids. It is checked like one from elsewhere; `what` begins the text of errors."""
    raw_config = dump(config)
    described = Descriptor(media_types.OCI_CONFIG, Digest.of(raw_config), len(raw_config))
    raw = Manifest(media_types.OCI_MANIFEST, described, tuple(layers)).to_oci()
    resolved = Resolved.of(Manifest.from_json(raw), raw, raw_config, original=Digest.of(raw), what=what)
    names = (name,) if name else ()
    return take_in(store, resolved, None, names, user_namespace=user_namespace, progress=progress, new_blobs=new_blobs)


def now() -> str:
    return timestamp(time.time_ns())


def new_name(text: str | None) -> Reference | None:
    """A name for something new, which has no digest yet. Raises InvalidReference, UsageError."""
    if not text:
        return None
    name = Reference.parse(text)
    if name.digest is not None:
        raise UsageError(f"image name {text}: a new image cannot be named by a digest", hint="give it a tag")
    return name
