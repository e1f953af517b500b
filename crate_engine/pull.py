"""Pulling an image: name → manifest → platform → configuration; then it is taken in (`intake`). Of an unchanged tag that is one small request.

Also brings an image in from an OCI layout directory.
"""

from __future__ import annotations

import os

from crate_engine import embedded
from crate_engine.errors import (
    AuthenticationRequired,
    CrateError,
    ImageError,
    ImageNotFound,
    StoreError,
    UsageError,
)
from crate_engine.layers.store import LayerStore
from crate_engine.oci.platform import Platform
from crate_engine.reference import Reference
from crate_engine.store.images import Image, ImageStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from crate_engine.intake import Resolved
    from crate_engine.layers.transfer import Fetch
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.digest import Digest
    from crate_engine.registry.access import Access
    from crate_engine.registry.client import Registry
    from crate_engine.registry.registries_conf import Registries
    from crate_engine.store.blobs import BlobWriter
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace

    class Progress(Protocol):
        """What a caller is told, one call at a time, from any thread. Sizes and counts are in bytes of the blobs."""

        def resolved(self, reference: Reference, digest: Digest) -> None: ...
        def layer_started(self, digest: Digest, size: int) -> None: ...
        def advanced(self, digest: Digest, count: int) -> None: ...
        def unpacking(self, digest: Digest) -> None: ...
        def layer_done(self, digest: Digest, cached: bool) -> None: ...


POLICIES = ("always", "missing", "never", "newer")


def pull(
    store: Store,
    name: str,
    *,
    platform: Platform | None = None,
    policy: str = "always",
    user_namespace: UserNamespace,
    access: Access | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Image:
    """The image, unpacked and under its name. `name` may be short: registries.conf says what it means, else it is one of docker.io.

    `policy` is always, missing (ask only for what is not here), never, or newer: always, but where that fails what is here will do, and `warn`
    is told. Forks, so the calling process must have no threads. Raises ImageNotFound, PlatformNotOffered, RegistryError, ImageError, StoreError.
    """
    if policy not in POLICIES:
        raise UsageError(f"pull policy {policy!r}: must be one of {', '.join(POLICIES)}")
    from crate_engine.registry import registries_conf
    from crate_engine.registry.access import Access

    plain = Reference.parse(name)
    registries = registries_conf.load(short_names=plain.registry == "docker.io")
    candidates = registries.candidates(name)
    here = None
    if policy != "always":
        here = next((found for one in candidates if (found := _local(store, one, platform, user_namespace))), None)
    if here is not None and policy != "newer":
        return here
    if str(plain) == embedded.NAME:
        return here or _load_embedded(store, plain, platform, user_namespace, progress)
    if policy == "never":
        raise ImageNotFound(
            f"find image {candidates[0].familiar}: it is not here, and is not to be pulled",
            hint=f"crate pull {candidates[0].familiar}",
        )
    try:
        return _pull_first(store, registries, candidates, platform, user_namespace, access or Access(), progress)
    except CrateError as error:
        if here is None:
            raise
        warn(f"{error}; the image that is here is used")
        return here


def referrers(name: str, *, artifact_type: str = "", access: Access) -> list[Descriptor]:
    """What says something about the image of this name in its registry, an index's entries not included. Raises RegistryError, ImageNotFound."""
    from crate_engine.registry import registries_conf
    from crate_engine.registry.client import Registry

    registries = registries_conf.load()
    reference = registries.candidates(name)[0]
    registry = Registry(registries.endpoints(reference)[-1:], access)
    try:
        digest = reference.digest or registry.digest(reference) or registry.manifest(reference)[2]
        return registry.referrers(reference, digest, artifact_type)
    finally:
        registry.close()


def _pull_first(
    store: Store,
    registries: Registries,
    candidates: list[Reference],
    platform: Platform | None,
    user_namespace: UserNamespace,
    access: Access,
    progress: Progress | None,
) -> Image:
    """From the first registry that has it. One that does not answer ends the search: the next might have another image under the name."""
    absent: CrateError | None = None
    for reference in candidates:
        try:
            return _pull(store, registries, reference, platform, user_namespace, access, progress)
        except (ImageNotFound, AuthenticationRequired) as error:
            absent = absent or error
    assert absent is not None
    raise absent


def _pull(
    store: Store,
    registries: Registries,
    reference: Reference,
    platform: Platform | None,
    user_namespace: UserNamespace,
    access: Access,
    progress: Progress | None,
) -> Image:
    from crate_engine.registry.client import Registry

    registry = Registry(registries.endpoints(reference), access)
    try:
        digest = None
        image = _whole(store, reference, platform or Platform.host(), user_namespace)
        if image is not None:
            digest = registry.digest(reference)
            if digest is not None and reference.with_digest(digest) in image.repo_digests:
                if progress is not None:
                    progress.resolved(reference, digest)
                _tidy(store, user_namespace)
                return image
        return _bring_in(store, registry, reference, platform, user_namespace, progress, digest)
    finally:
        registry.close()


def _tidy(store: Store, user_namespace: UserNamespace) -> None:
    """Remove what a killed pull has left, but for the blobs that one of its images could be continued from."""
    if not os.listdir(store.ingest) and not os.listdir(store.trash):
        return
    from crate_engine.layers.store import empty_trash
    from crate_engine.store import leases
    from crate_engine.store.locks import lock

    killed = leases.sweep(store)
    LayerStore(store, user_namespace).sweep()
    if killed:
        with lock(store, "image"):
            ImageStore(store).prune()
    empty_trash(store, user_namespace)


def _whole(store: Store, reference: Reference, platform: Platform, user_namespace: UserNamespace) -> Image | None:
    """The image under this name if all of it is here and it is exactly for this platform: only its name may have to be asked about."""
    from crate_engine.store.blobs import BlobStore

    try:
        image = ImageStore(store).find(str(reference))
    except (ImageError, StoreError):
        return None
    blobs = BlobStore(store)
    whole = all(blobs.has(layer.digest, layer.size) for layer in image.manifest.layers)
    if not whole or platform.distance(image.platform) != 0 or LayerStore(store, user_namespace).missing(image.config.diff_ids):
        return None
    return image


def load_layout(
    store: Store,
    directory: str,
    reference: Reference,
    *,
    name: str | None = None,
    platform: Platform | None = None,
    user_namespace: UserNamespace,
    progress: Progress | None = None,
) -> Image:
    """Bring an image in from the OCI layout in `directory`, checked like one from a registry, and give it the name `reference`.

    `name` is its `org.opencontainers.image.ref.name` in the layout; None: the layout's only image. No other name is read or written.
    """
    from crate_engine import load
    from crate_engine.archive.layout import Layout

    with load.opened(store, directory) as files:
        reader = Layout(files)
        found = load.resolve(reader, reader.named(name).candidates, platform)
        return _take_in(store, found, reader.fetch, reference, user_namespace, progress)


def _load_embedded(
    store: Store, reference: Reference, platform: Platform | None, user_namespace: UserNamespace, progress: Progress | None
) -> Image:
    """The image that comes with crate: made anew, then loaded as any layout is."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="crate-") as directory:
        embedded.layout(directory)
        return load_layout(
            store, directory, reference, name=embedded.NAME, platform=platform, user_namespace=user_namespace, progress=progress
        )


def _local(store: Store, reference: Reference, platform: Platform | None, user_namespace: UserNamespace) -> Image | None:
    """The image if it is here, whole and of the right platform. Layers that are not unpacked (for these ids) are, from their blobs."""
    try:
        image = ImageStore(store).find(str(reference))
        if platform is not None and platform.distance(image.platform) is None:
            return None
        if LayerStore(store, user_namespace).missing(image.config.diff_ids):
            LayerStore(store, user_namespace).ensure(image, user_namespace)
    except (ImageNotFound, StoreError):
        return None  # not here, or damaged: pulling repairs it
    return image


def _bring_in(
    store: Store,
    registry: Registry,
    reference: Reference,
    platform: Platform | None,
    user_namespace: UserNamespace,
    progress: Progress | None,
    at: Digest | None,
) -> Image:
    """`at` is what the name stands for, where that is known: what the tag moves to meanwhile does not count."""
    from crate_engine.resolving import resolve

    raw, media_type, digest = registry.manifest(reference, at)
    found = resolve(
        raw,
        media_type or None,
        digest,
        manifest=lambda entry: registry.manifest(reference, entry.digest)[0],
        config=lambda descriptor: registry.blob(reference, descriptor),
        platform=platform,
        what=f"pull {reference.familiar}",
    )

    def fetch(descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        registry.fetch(reference, descriptor, writer, on_piece)

    return _take_in(store, found, fetch, reference, user_namespace, progress)


def _take_in(
    store: Store,
    found: Resolved,
    fetch: Fetch,
    reference: Reference,
    user_namespace: UserNamespace,
    progress: Progress | None,
) -> Image:
    from crate_engine.intake import take_in

    if progress is not None:
        progress.resolved(reference, found.digest)
    return take_in(store, found, fetch, (reference,), user_namespace=user_namespace, progress=progress)
