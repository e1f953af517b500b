"""Pulling an image: name → manifest → platform → blobs, verified while they stream → layers → the name, written last.

A killed pull leaves only files in `ingest/`, which the next one continues or removes. Also brings an image in from an OCI layout directory.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace

from crate_engine import embedded, limits
from crate_engine.errors import ImageError, ImageNotFound, PlatformNotOffered, StoreError, UsageError
from crate_engine.layers.store import LayerStore
from crate_engine.layers.transfer import bring, plan
from crate_engine.oci import layout, media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Index, Manifest, parse_document
from crate_engine.oci.platform import Platform, nearest, unknown
from crate_engine.reference import Reference
from crate_engine.store import leases
from crate_engine.store.images import Image, ImageStore
from crate_engine.store.locks import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

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

    class Source(Protocol):
        """Where documents and blobs come from: a registry, or a directory."""

        def manifest(self, reference: Reference, digest: Digest | None = None) -> tuple[bytes, str, Digest]: ...
        def blob(self, reference: Reference, descriptor: Descriptor) -> bytes: ...
        def fetch(
            self, reference: Reference, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]
        ) -> None: ...


_POLICIES = ("always", "missing", "never")


def pull(
    store: Store,
    reference: Reference,
    *,
    platform: Platform | None = None,
    policy: str = "always",
    user_namespace: UserNamespace,
    insecure: Iterable[str] = (),
    progress: Progress | None = None,
) -> Image:
    """The image, unpacked and under its name. `insecure` are registries with an unchecked certificate or none.

    Forks, so the calling process must have no threads. Raises ImageNotFound, PlatformNotOffered, RegistryError, ImageError, StoreError.
    """
    if policy not in _POLICIES:
        raise UsageError(f"pull policy {policy!r}: must be one of {', '.join(_POLICIES)}")
    if policy != "always":
        image = _local(store, reference, platform, user_namespace)
        if image is not None:
            return image
    if str(reference) == embedded.NAME:
        return _load_embedded(store, reference, platform, user_namespace, progress)
    if policy == "never":
        raise ImageNotFound(
            f"find image {reference.familiar}: it is not here, and is not to be pulled",
            hint=f"crate pull {reference.familiar}",
        )
    from crate_engine.registry.client import Registry

    registry = Registry(reference.registry, insecure=insecure)
    try:
        return _bring_in(store, registry, reference, platform, user_namespace, progress)
    finally:
        registry.close()


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
    return _bring_in(store, _Layout(directory, name), reference, platform, user_namespace, progress)


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


@dataclass(frozen=True, slots=True)
class _Resolved:
    """`digest` is what the name stands for, an index's or `original`, that of the manifest as it came. `descriptor` is of `raw_manifest`."""

    digest: Digest
    original: Digest
    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig
    raw_manifest: bytes
    raw_config: bytes


def _bring_in(
    store: Store,
    source: Source,
    reference: Reference,
    platform: Platform | None,
    user_namespace: UserNamespace,
    progress: Progress | None,
) -> Image:
    found = _resolve(source, reference, platform)
    if progress is not None:
        progress.resolved(reference, found.digest)
    manifest, config = found.manifest, found.config
    blobs = [found.descriptor.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]
    images, layers = ImageStore(store), LayerStore(store, user_namespace)

    def fetch(descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        source.fetch(reference, descriptor, writer, on_piece)

    with ExitStack() as stack:
        with lock(store, "image"):
            stack.enter_context(leases.protect(store, [*blobs, *config.diff_ids]))
        killed = leases.sweep(store)
        images.blobs.sweep(set(blobs))
        layers.sweep()
        bring(store, plan(store, manifest, config, user_namespace), user_namespace, fetch, progress)
        images.blobs.add(found.raw_config, manifest.config.digest)
        images.blobs.add(found.raw_manifest, found.descriptor.digest)
        size = sum(layers.size(diff_id) for diff_id in config.diff_ids)
        # By digest, a tag beside it says nothing: it is not kept, as docker does.
        name = reference.with_digest(reference.digest) if reference.digest else reference
        image = images.put(name, found.descriptor, config.platform, resolved=found.digest, original=found.original, size=size)
        if killed:
            with lock(store, "image"):
                images.prune()
    return image


def _resolve(source: Source, reference: Reference, platform: Platform | None) -> _Resolved:
    raw, media_type, digest = source.manifest(reference)
    resolved = digest
    document = parse_document(raw, media_type or None)
    seen = {digest}
    while isinstance(document, Index):
        entry = _select(document, reference, platform or Platform.host())
        if entry.digest in seen or len(seen) > limits.INDEX_NESTING:
            raise ImageError(f"pull {reference.familiar}: its indexes contain each other, or are nested too deeply")
        seen.add(entry.digest)
        raw, media_type, digest = source.manifest(reference, entry.digest)
        if len(raw) != entry.size:
            raise ImageError(
                f"pull {reference.familiar}: manifest {entry.digest} has {len(raw)} bytes, not the {entry.size} its index says"
            )
        document = parse_document(raw, entry.media_type)
    raw_config = source.blob(reference, document.config)
    config = ImageConfig.from_json(raw_config)
    _check(document, config, reference, platform)
    if document.media_type != media_types.OCI_MANIFEST:
        raw = document.to_oci()
    descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(raw), len(raw), platform=config.platform)
    if document.media_type == media_types.OCI_MANIFEST:
        descriptor = replace(descriptor, digest=digest)  # a sha512 one stays what it was
    return _Resolved(resolved, digest, descriptor, Manifest.from_json(raw), config, raw, raw_config)


def _select(index: Index, reference: Reference, wanted: Platform) -> Descriptor:
    entries = [
        entry for entry in index.manifests if not unknown(entry.platform) and "vnd.docker.reference.type" not in entry.annotations
    ]
    place = nearest(wanted, [entry.platform for entry in entries])
    if place is not None:
        return entries[place]
    unnamed = [entry for entry in entries if entry.platform is None]
    if len(entries) == len(unnamed) == 1:
        return unnamed[0]  # its configuration tells, and is checked
    offered = ", ".join(sorted({str(entry.platform) for entry in entries if entry.platform})) or "none"
    raise PlatformNotOffered(
        f"pull {reference.familiar}: there is no image for {wanted}", hint=f"offered are: {offered}; choose one with --platform"
    )


def _check(manifest: Manifest, config: ImageConfig, reference: Reference, platform: Platform | None) -> None:
    if len(config.diff_ids) != len(manifest.layers):
        raise ImageError(f"pull {reference.familiar}: it has {len(manifest.layers)} layers and {len(config.diff_ids)} diff ids")
    if any(diff_id.algorithm != "sha256" for diff_id in config.diff_ids):
        raise ImageError(f"pull {reference.familiar}: its diff ids are not sha256 digests")
    wrong = platform is not None and platform.distance(config.platform) is None
    if config.os != "linux" or wrong:
        raise PlatformNotOffered(
            f"pull {reference.familiar}: the image is for {config.platform}" + (f", not for {platform}" if wrong else "")
        )


class _Layout:
    """An OCI layout directory as a source. Its files are opened by digest, and never through a link."""

    def __init__(self, directory: str, name: str | None) -> None:
        self._directory = directory
        layout.check_marker(self._read(layout.MARKER, limits.ERROR_BYTES))
        entries = layout.parse_index(self._read(layout.INDEX, limits.INDEX_FILE_BYTES))
        named = [entry for entry in entries if name is None or entry.annotations.get(layout.REFERENCE_NAME) == name]
        if len(named) != 1:
            which = "it has several images, or none" if name is None else f"it has no image {name!r}"
            raise ImageNotFound(f"load {directory}: {which}")
        self._entry = named[0]

    def manifest(self, reference: Reference, digest: Digest | None = None) -> tuple[bytes, str, Digest]:
        wanted = digest or self._entry.digest
        content = self._read(layout.blob_path(wanted), limits.MANIFEST_BYTES)
        if not wanted.matches(content):
            raise ImageError(f"load {self._directory}: the content of blob {wanted} is another")
        return content, "" if digest else self._entry.media_type, wanted

    def blob(self, reference: Reference, descriptor: Descriptor) -> bytes:
        content = self._read(layout.blob_path(descriptor.digest), descriptor.size)
        if not descriptor.digest.matches(content):
            raise ImageError(f"load {self._directory}: the content of blob {descriptor.digest} is another")
        return content

    def fetch(self, reference: Reference, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        with open(self._open(layout.blob_path(descriptor.digest)), "rb") as file:
            file.seek(writer.offset)
            while piece := file.read(1 << 20):
                writer.write(piece)
                on_piece(len(piece))

    def _read(self, name: str, limit: int) -> bytes:
        with open(self._open(name), "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise ImageError(f"load {self._directory}: {name} is larger than the {limit} bytes allowed")
        return content

    def _open(self, name: str) -> int:
        from crate_engine.system.path import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2

        try:
            directory = os.open(self._directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                return openat2(directory, name.encode(), os.O_RDONLY | os.O_CLOEXEC, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)
            finally:
                os.close(directory)
        except OSError as error:
            raise ImageError(f"load {self._directory}: open {name}: {error.strerror}") from error
