"""Taking an image into the store: blobs, verified while they stream → layers → documents → its names, written last.

What pull, load, import and commit have in common, wherever the bytes come from. A killed one leaves only files in `ingest/`, which the next
one continues or removes.
"""

from __future__ import annotations

from contextlib import ExitStack

from crate_engine.errors import ImageError, PlatformNotOffered
from crate_engine.layers.store import LayerStore
from crate_engine.layers.transfer import bring, plan
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest
from crate_engine.store import leases
from crate_engine.store.images import Image, ImageStore
from crate_engine.store.locks import lock
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from crate_engine.layers.transfer import Fetch, Progress
    from crate_engine.oci.platform import Platform
    from crate_engine.reference import Reference
    from crate_engine.store.new_blob import NewBlob
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


@dataclass(frozen=True, slots=True)
class Resolved:
    """One image's documents, checked. `digest` is what its name stands for, an index's or `original`, that of the manifest as it came.

    `descriptor` is of `raw_manifest`, which is OCI's form of the manifest; `raw_original` is as it came, or empty where that is the same.
    """

    digest: Digest
    original: Digest
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    raw_manifest: bytes
    raw_config: bytes
    raw_original: bytes = b""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        raw_manifest: bytes,
        raw_config: bytes,
        *,
        original: Digest,
        what: str,
        resolved: Digest | None = None,
        platform: Platform | None = None,
    ) -> Resolved:
        """`original` is the digest of `raw_manifest`, `what` begins the text of errors. Raises ImageError, PlatformNotOffered."""
        config = ImageConfig.from_json(raw_config)
        _check(manifest, config, platform, what)
        digest, raw_original = original, b""
        if manifest.media_type != media_types.OCI_MANIFEST:
            raw_original = raw_manifest
            raw_manifest = manifest.to_oci()
            digest = Digest.of(raw_manifest)
            manifest = Manifest.from_json(raw_manifest)
        descriptor = Descriptor(media_types.OCI_MANIFEST, digest, len(raw_manifest), platform=config.platform)
        return cls(resolved or original, original, descriptor, manifest, config, raw_manifest, raw_config, raw_original)


def _check(manifest: Manifest, config: ImageConfig, platform: Platform | None, what: str) -> None:
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageError(f"{what}: it has {len(manifest.layers)} layers and {len(config.diff_ids)} diff ids")
    if any(diff_id.algorithm != "sha256" for diff_id in config.diff_ids):
        raise ImageError(f"{what}: its diff ids are not sha256 digests")
    wrong = platform is not None and platform.distance(config.platform) is None
    if config.os != "linux" or wrong:
        raise PlatformNotOffered(f"{what}: the image is for {config.platform}" + (f", not for {platform}" if wrong else ""))


def take_in(
    store: Store,
    found: Resolved,
    fetch: Fetch | None,
    names: Sequence[Reference],
    *,
    user_namespace: UserNamespace,
    progress: Progress | None = None,
    new_blobs: Sequence[NewBlob] = (),
) -> Image:
    """The image, unpacked and under these names, or without one. `fetch` writes a layer's blob; `new_blobs` are those made here.

    Forks, so the calling process must have no threads. Raises CrateError.
    """
    manifest, config = found.manifest, found.config
    blobs = [found.original, found.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]
    images, layers = ImageStore(store), LayerStore(store, user_namespace)
    with ExitStack() as stack:
        with lock(store, "image"):
            images.begin()
            stack.enter_context(leases.protect(store, [*blobs, *config.diff_ids]))
        killed = leases.sweep(store)
        images.blobs.sweep(set(blobs))
        layers.sweep()
        for blob in new_blobs:
            blob.commit()
        bring(store, plan(store, manifest, config, user_namespace), user_namespace, fetch, progress)
        images.blobs.add(found.raw_config, manifest.config.digest)
        images.blobs.add(found.raw_manifest, found.descriptor.digest)
        if found.raw_original:
            images.blobs.add(found.raw_original, found.original)  # a push sends it as it came, under the same digest
        size = sum(layers.size(diff_id) for diff_id in config.diff_ids)
        for name in names or (None,):
            if name is None and (known := _known(images, found)):
                image = known
                continue
            # By digest, a tag beside it says nothing: it is not kept, as docker does.
            kept = name.with_digest(name.digest) if name is not None and name.digest else name
            image = images.put(kept, found.descriptor, config.platform, resolved=found.digest, original=found.original, size=size)
        layers.directories(image)  # what lower layers say of its directories is worked out now
        if killed:
            with lock(store, "image"):
                images.prune()
    return image


def _known(images: ImageStore, found: Resolved) -> Image | None:
    """The same manifest under whatever names: one without a name need not be added to it."""
    return next((image for image in images.all() if image.descriptor.digest == found.descriptor.digest), None)
