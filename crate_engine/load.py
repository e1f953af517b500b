"""Loading images from files: a docker archive, or an OCI layout in a directory or an archive; compressed or not, from a pipe or a file.

All documents of all images are checked before anything is kept. Names are those in the archive, and no others move; ids are computed.
"""

from __future__ import annotations

from contextlib import contextmanager

from crate_engine import limits, resolving
from crate_engine.archive import places
from crate_engine.archive.docker import MANIFEST, REPOSITORIES, DockerArchive
from crate_engine.archive.files import open_archive, open_files
from crate_engine.archive.layout import Layout
from crate_engine.errors import ImageError, ImageNotFound
from crate_engine.intake import Resolved, take_in
from crate_engine.oci import layout
from crate_engine.oci.platform import Platform
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from crate_engine.archive.docker import DockerImage
    from crate_engine.archive.files import Files
    from crate_engine.archive.layout import Found
    from crate_engine.archive.places import Place
    from crate_engine.layers.transfer import Fetch, Progress
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.reference import Reference
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


@dataclass(frozen=True, slots=True)
class Loaded:
    """`names` are those that the archive gave it; it may have others here."""

    image: Image
    names: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class _Incoming:
    resolved: Resolved
    names: tuple[Reference, ...]
    fetch: Fetch


@contextmanager
def opened(store: Store, path: str | None, *, stdin: int = 0) -> Iterator[Files]:
    """The files of a directory or archive, `None` for what comes on `stdin`. Raises ImageError."""
    import os

    if path is None:
        files: Files = open_archive(os.dup(stdin), "load from standard input", store.ingest)
    else:
        files = open_files(path, f"load {path}", store.ingest)
    try:
        yield files
    finally:
        files.close()


def load(
    store: Store,
    files: Files,
    *,
    platform: Platform | None = None,
    user_namespace: UserNamespace,
    progress: Progress | None = None,
) -> Iterator[Loaded]:
    """Every image of an archive, one after the other as each is whole. Forks, so the calling process must have no threads. Raises CrateError."""
    for incoming in _incoming(files, platform):
        image = take_in(
            store,
            incoming.resolved,
            incoming.fetch,
            incoming.names,
            user_namespace=user_namespace,
            progress=progress,
        )
        yield Loaded(image, incoming.names)


def from_place(
    store: Store,
    place: Place,
    *,
    platform: Platform | None = None,
    user_namespace: UserNamespace,
    progress: Progress | None = None,
) -> Image:
    """The image of a place in files, under the names that it has there, if any: `crate pull oci:DIR`."""
    with opened(store, place.path) as files:
        incoming = _one(files, place, platform)
        return take_in(store, incoming.resolved, incoming.fetch, incoming.names, user_namespace=user_namespace, progress=progress)


def _one(files: Files, place: Place, platform: Platform | None) -> _Incoming:
    if place.kind != places.DOCKER_ARCHIVE:
        reader = Layout(files)
        found = reader.named(place.label)
        return _Incoming(resolve(reader, found.candidates, platform), _kept(found), reader.fetch)
    archive = DockerArchive(files)
    images = [one for one in archive.images() if place.label is None or place.label in _labels(one)]
    if len(images) != 1:
        cause = f"it has {len(images)} images" + (f" of the name {place.label}" if place.label else "")
        raise ImageNotFound(f"{files.what}: {cause}", hint=f"name one: {place.kind}:{place.path}:NAME")
    return _Incoming(archive.resolve(images[0], platform), images[0].names, archive.fetch)


def _labels(image: DockerImage) -> set[str]:
    return {text for name in image.names for text in (name.familiar, str(name))}


def _incoming(files: Files, platform: Platform | None) -> list[_Incoming]:
    """What is an OCI layout is read as one, also where it has docker's manifest.json as well: the digests in it are the images' own."""
    if files.has(layout.MARKER):
        reader = Layout(files)
        found = [(resolve(reader, one.candidates, platform), _kept(one)) for one in reader.images()]
        incoming = [_Incoming(resolved, names, reader.fetch) for resolved, names in found]
    elif files.has(MANIFEST) or files.has(REPOSITORIES):
        archive = DockerArchive(files)
        incoming = [_Incoming(archive.resolve(one, platform), one.names, archive.fetch) for one in archive.images()]
    else:
        raise ImageError(
            f"{files.what}: it is neither an OCI image layout nor a docker archive",
            hint="the files of a system are brought in with crate import",
        )
    if sum(len(one.resolved.raw_manifest) + len(one.resolved.raw_config) for one in incoming) > limits.ARCHIVE_DOCUMENTS:
        raise ImageError(f"{files.what}: its documents have more than {limits.ARCHIVE_DOCUMENTS} bytes")
    names = [name for one in incoming for name in dict.fromkeys(one.names)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ImageError(f"{files.what}: two images in it are called {twice.familiar}")
    if not incoming:
        raise ImageNotFound(f"{files.what}: there is no image in it")
    return incoming


def _kept(found: Found) -> tuple[Reference, ...]:
    return tuple(name for name in found.names if name.tag)


def resolve(reader: Layout, candidates: Sequence[Descriptor], platform: Platform | None) -> Resolved:
    """From an entry of a layout to one image's documents, through indexes. Raises ImageError, PlatformNotOffered."""
    same = len({one.digest for one in candidates}) == 1
    entry = candidates[0] if same else resolving.select(candidates, platform or Platform.host(), reader.what)
    return resolving.resolve(
        reader.document(entry),
        entry.media_type,
        entry.digest,
        manifest=reader.document,
        config=reader.document,
        platform=platform,
        what=reader.what,
    )
