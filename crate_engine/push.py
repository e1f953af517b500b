"""Pushing an image of the store to a registry: what it has already is left out or mounted, then the rest, then the manifest, which names it all.

Layers go as they are, but for those that are not compressed: they become gzip. An image that came with docker's manifest goes with it, under the
same digest. Another compression makes another manifest over the same
configuration, so the image keeps its id.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack

from crate_engine import limits
from crate_engine.archive import places
from crate_engine.archive.places import Place
from crate_engine.archive.writing import DOCKER_ARCHIVE, OCI_ARCHIVE, Outgoing, OutputFile, write_archive, write_directory
from crate_engine.building import Hashed, describe
from crate_engine.errors import InvalidReference, RegistryError, StoreError, UsageError
from crate_engine.layers.compress import GZIP, PLAIN, ZSTD, check_level, deflate
from crate_engine.layers.decompress import inflate
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.manifest import Manifest
from crate_engine.reference import Reference
from crate_engine.registry.upload import Repository, Source
from crate_engine.store import leases
from crate_engine.store.images import Image, ImageStore
from crate_engine.store.locks import lock
from crate_engine.store.new_blob import NewBlob
from crate_engine.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from crate_engine.registry.access import Access
    from crate_engine.store.blobs import BlobStore
    from crate_engine.store.paths import Store

    class PushProgress(Protocol):
        """What a caller is told, one call at a time, from any thread."""

        def started(self, target: Reference | Place) -> None: ...
        def preparing(self, digest: Digest, size: int) -> None: ...
        def advanced(self, digest: Digest, count: int) -> None: ...
        def pushed(self, digest: Digest, how: str) -> None:
            """`how` is `Pushed`, `Layer already exists` or `Mounted from NAME`."""


_THREADS = 3


@dataclass(frozen=True, slots=True)
class Pushed:
    """What the registry has now: the manifest's digest and its size in bytes."""

    target: Reference | Place
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Compression:
    """`kind` is gzip or zstd; None leaves compressed layers as they are. `again`: also those that have the right kind already.

    `plain`: those that are not compressed stay so.
    """

    kind: str | None = None
    level: int | None = None
    again: bool = False
    plain: bool = False


_AS_IT_IS = Compression(plain=True)


def target(image_name: str, destination: str | None, image: Image) -> Reference | Place:
    """Where an image goes: to `destination`, or to the registry of the name it was asked for by. Raises UsageError, InvalidReference."""
    if destination is not None:
        place = places.parse(destination)
        if place is not None:
            return place
        return Reference.parse(places.plain(destination))
    try:
        wanted = Reference.parse(image_name)
    except InvalidReference:
        wanted = None
    known = [name for name in image.names if name.tag]
    for name in known:
        if wanted is not None and name == wanted:
            return name
    short = [name for name in known if wanted and name.tag == wanted.tag and name.repository.endswith(wanted.repository)]
    if len(short) == 1:
        return short[0]  # it was looked up by a short name of registries.conf
    raise UsageError(
        f"push {image_name}: it is no tag of an image here", hint=f"say where to: crate push {image_name} HOST/NAME:TAG"
    )


def push(
    store: Store,
    find: Callable[[], Image],
    target: Reference | Place,
    *,
    compression: Compression,
    access: Access,
    progress: PushProgress | None = None,
) -> Pushed:
    """Under the tag of a reference, or without one by digest alone; or into files. `find` is called under the image lock. Raises CrateError."""
    check_level(compression.kind or GZIP, compression.level)
    if progress is not None:
        progress.started(target)
    if isinstance(target, Place):
        return _write(store, find, target, compression)
    return _upload(store, find, target, compression=compression, access=access, progress=progress)


def _write(store: Store, find: Callable[[], Image], place: Place, compression: Compression) -> Pushed:
    """Layers go as they are, unless another compression is asked for."""
    images = ImageStore(store)
    with ExitStack() as stack:
        with lock(store, "image", shared=True):
            image = find()
            stack.enter_context(leases.protect(store, image.blobs))
        asked = compression.kind is not None or compression.again
        manifest, raw, sources = _prepared(store, images.blobs, image, compression if asked else _AS_IT_IS, stack)
        by_digest = {source.descriptor.digest: source for source in sources}
        descriptor = Descriptor(manifest.media_type, Digest.of(raw), len(raw), platform=image.platform)
        names = [Reference.parse(place.label)] if place.kind == places.DOCKER_ARCHIVE and place.label else []
        outgoing = Outgoing(
            descriptor,
            manifest,
            raw,
            images.blobs.read(manifest.config.digest),
            tuple(names),
            lambda layer: by_digest[layer.digest].read(0),
            place.label or "",
        )
        if place.kind == places.OCI:
            write_directory(place.path, [outgoing])
        else:
            with OutputFile(place.path) as stream:
                write_archive(stream, [outgoing], DOCKER_ARCHIVE if place.kind == places.DOCKER_ARCHIVE else OCI_ARCHIVE)
        return Pushed(place, descriptor.digest, len(raw))


def _upload(
    store: Store,
    find: Callable[[], Image],
    reference: Reference,
    *,
    compression: Compression,
    access: Access,
    progress: PushProgress | None = None,
) -> Pushed:
    from crate_engine.registry import registries_conf, session

    images = ImageStore(store)
    # Mirrors are for pulling: what is pushed goes to the registry of the name.
    endpoint = registries_conf.load().endpoints(reference)[-1]
    with ExitStack() as stack:
        with lock(store, "image", shared=True):
            image = find()
            stack.enter_context(leases.protect(store, image.blobs))
            elsewhere = _repositories(images, image, reference)
        wire = session.wire(access, [endpoint.reference.registry] if endpoint.insecure else [])
        stack.callback(wire.close)
        connection = session.Session(endpoint.reference.registry, wire, authfile=access.authfile)
        repository = Repository(connection, endpoint.reference.repository, f"push {reference.familiar}")
        manifest, raw, sources = _prepared(store, images.blobs, image, compression, stack)
        if manifest is image.manifest:
            manifest, raw = _as_it_came(images.blobs, image, raw)
        # Compressing is repeatable: a layer that was compressed for another repository has the same digest there.
        pairs = zip(manifest.layers, image.manifest.layers, strict=True)
        known = {new.digest: elsewhere[old.digest] for new, old in pairs if old.digest in elsewhere}
        _Push(repository, known, progress).run(sources)
        digest = repository.put_manifest(reference.tag or str(Digest.of(raw)), raw, manifest.media_type)
        return Pushed(reference, digest, len(raw))


def _as_it_came(blobs: BlobStore, image: Image, raw: bytes) -> tuple[Manifest, bytes]:
    """Docker's form of the manifest where it came in that: a registry keeps either, and digests that people have noted stay right."""
    if image.original is None or not os.path.exists(blobs.path(image.original)):
        return image.manifest, raw
    original = blobs.read(image.original, limits.MANIFEST_BYTES)
    return Manifest.from_json(original, media_types.DOCKER_MANIFEST), original


def _repositories(images: ImageStore, image: Image, reference: Reference) -> dict[Digest, list[str]]:
    """Where else on the same registry the layers probably are: the repositories of images here that have them."""
    wanted = {layer.digest for layer in image.manifest.layers}
    found: dict[Digest, list[str]] = {}
    for other in images.all():
        names = {name.repository for name in other.repo_digests if name.registry == reference.registry} - {reference.repository}
        for layer in other.manifest.layers:
            if names and layer.digest in wanted:
                found.setdefault(layer.digest, []).extend(sorted(names))
    return found


def _prepared(
    store: Store, blobs: BlobStore, image: Image, compression: Compression, stack: ExitStack
) -> tuple[Manifest, bytes, list[Source]]:
    """The manifest that is pushed, and its blobs, the configuration last. New ones are files that go with the stack."""
    manifest = image.manifest
    raw = blobs.read(image.descriptor.digest, limits.MANIFEST_BYTES)
    sources: dict[Digest, Source] = {}
    layers = []
    for layer, diff_id in zip(manifest.layers, image.config.diff_ids, strict=True):
        kind = _wanted(layer, compression)
        source = _stored(blobs, layer) if kind is None else _compressed(store, blobs, layer, diff_id, kind, compression, stack)
        sources[source.descriptor.digest] = source
        layers.append(source.descriptor)
    if any(new.digest != old.digest for new, old in zip(layers, manifest.layers, strict=True)):
        manifest = replace(manifest, layers=tuple(layers))
        raw = manifest.to_oci()
    return manifest, raw, [*sources.values(), _stored(blobs, manifest.config)]


def _wanted(layer: Descriptor, compression: Compression) -> str | None:
    """What a layer has to be compressed with; None: it goes as it is."""
    own = next((kind for kind in (GZIP, ZSTD) if layer.media_type.endswith(f"+{kind}")), PLAIN)
    if compression.plain:
        return None
    wanted = compression.kind or (own or GZIP)
    return wanted if own != wanted or compression.again else None


def _stored(blobs: BlobStore, descriptor: Descriptor) -> Source:
    def check() -> None:
        found = Hashed(blobs.blocks(descriptor.digest))
        for _ in found:
            pass
        if descriptor.digest.algorithm == "sha256" and found.digest != descriptor.digest:
            raise StoreError(f"push blob {descriptor.digest}: its content was changed on disk", hint="pull the image again")

    return Source(descriptor, lambda start: blobs.blocks(descriptor.digest, start), check)


def _compressed(
    store: Store, blobs: BlobStore, layer: Descriptor, diff_id: Digest, kind: str, compression: Compression, stack: ExitStack
) -> Source:
    blob = stack.enter_context(NewBlob(store))
    content = Hashed(inflate(blobs.blocks(layer.digest)))
    for block in deflate(content, kind, compression.level):
        blob.write(block)
    if content.digest != diff_id:
        raise StoreError(f"push layer {diff_id}: its content was changed on disk", hint="pull the image again")
    described = describe(blob, kind)
    if ".nondistributable." in layer.media_type:
        described = replace(described, media_type=layer.media_type.partition("+")[0] + f"+{kind}")
    return Source(described, blob.read, lambda: None)


class _Push:
    """Uploads several blobs at a time. The first error ends it; what was uploaded stays, and need not be again."""

    def __init__(self, target: Repository, elsewhere: dict[Digest, list[str]], progress: PushProgress | None) -> None:
        self._target = target
        self._elsewhere = elsewhere
        self._progress = progress
        self._telling = threading.Lock()
        self._error: BaseException | None = None

    def run(self, sources: list[Source]) -> None:
        self._one(sources[-1])  # alone: the first request logs in
        pending = sources[-2::-1]
        threads = [threading.Thread(target=self._work, args=(pending,), daemon=True) for _ in range(min(_THREADS, len(pending)))]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.5)
        finally:
            pending.clear()
        if self._error is not None:
            raise self._error

    def _work(self, pending: list[Source]) -> None:
        try:
            while pending and self._error is None:
                self._one(pending.pop())
        except IndexError:
            pass  # another thread took the last one
        except BaseException as error:
            if self._error is None:
                self._error = error

    def _one(self, source: Source) -> None:
        digest = source.descriptor.digest
        shown = source.descriptor.media_type not in media_types.CONFIGS
        if shown:
            self._tell("preparing", digest, source.descriptor.size)
        how = self._brought(source, (lambda count: self._tell("advanced", digest, count)) if shown else (lambda count: None))
        if shown:
            self._tell("pushed", digest, how)

    def _brought(self, source: Source, on_piece: Callable[[int], None]) -> str:
        digest = source.descriptor.digest
        if self._target.has(digest):
            return "Layer already exists"
        for repository in self._elsewhere.get(digest, [])[: limits.MOUNT_TRIES]:
            if self._target.mount(digest, repository):
                return f"Mounted from {repository}"
        if self._error is not None:
            raise RegistryError(f"push blob {digest}: another one failed")

        def piece(count: int) -> None:
            if self._error is not None:
                raise RegistryError(f"push blob {digest}: another one failed")
            on_piece(count)

        self._target.upload(source, piece)
        return "Pushed"

    def _tell(self, event: str, *arguments: object) -> None:
        if self._progress is not None:
            with self._telling:
                getattr(self._progress, event)(*arguments)
