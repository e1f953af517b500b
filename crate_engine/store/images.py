"""The images of the store: names, moves of tags, removal, pruning. On disk it is an OCI image layout (image-spec image-layout.md).

Each entry of `index.json` is one name, in the annotation `org.opencontainers.image.ref.name`; an entry without it is an image whose last
tag moved on. Only manifests of single images are kept: where a name led to an index, its digest is an annotation, so that it still resolves.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from crate_engine import limits
from crate_engine.errors import CrateError, ImageError, ImageInUse, ImageNotFound, StoreError
from crate_engine.oci import layout
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest
from crate_engine.oci.platform import Platform
from crate_engine.reference import Reference
from crate_engine.store import durable, index, reclaim
from crate_engine.store.blobs import BlobStore
from crate_engine.store.locks import lock
from crate_engine.store.paths import Store
from crate_engine.values import dataclass, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from crate_engine.system.userns import UserNamespace

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})", re.ASCII)
_SHORTEST_ID = 3
PREVIOUS = ".old"
"""The end of the name that the previous index.json has."""
_SHOWN = 12
"""Digits of an id in messages."""


@dataclass(frozen=True, slots=True)
class Image:
    """`id` is the hexadecimal digest of the configuration. `size` is in bytes, of the unpacked layers where that is known.

    `names` are all its names, the oldest first; it has none when its last tag moved to another image. `repo_digests` are the names by digest.
    `original` is the digest of docker's form of the manifest, where it came in that.
    """

    id: str
    names: tuple[Reference, ...]
    manifest: Manifest
    descriptor: Descriptor
    config: ImageConfig
    size: int
    repo_digests: tuple[Reference, ...] = ()
    original: Digest | None = None

    @property
    def created(self) -> str:
        """An RFC 3339 text, or empty."""
        return self.config.created

    @property
    def blobs(self) -> list[Digest]:
        """All that it needs."""
        documents = [self.descriptor.digest, self.manifest.config.digest, *filter(None, [self.original])]
        return [*documents, *(layer.digest for layer in self.manifest.layers)]

    @property
    def platform(self) -> Platform:
        return self.config.platform


class ImageStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.blobs = BlobStore(store)

    def all(self) -> list[Image]:
        """Every image that can be read, the newest name last. A damaged one is left out: `find` of its name says what is wrong."""
        groups: dict[Digest, list[Descriptor]] = {}
        for entry in self.entries():
            groups.setdefault(entry.digest, []).append(entry)
        images = []
        for entries in groups.values():
            try:
                images.append(self.read(entries))
            except (ImageError, StoreError):
                continue
        return _merged(images)

    def find(self, name_or_id: str) -> Image:
        """By name in any form docker takes, by id or by the unique beginning of one. Raises ImageNotFound."""
        while True:
            entries = self.entries()
            try:
                return self._find(entries, name_or_id)
            except StoreError:
                if entries == self.entries():
                    raise  # damaged, and not removed between one look and the other

    def _find(self, entries: tuple[Descriptor, ...], name_or_id: str) -> Image:
        entry = index.by_name(entries, index.parsed(name_or_id))
        if entry is not None:
            # Its other names matter to no one who asks by name: one manifest and one configuration are read.
            return self.read([other for other in entries if other.digest == entry.digest])
        same, _ = self._by_id(entries, name_or_id)
        return self.read(same)

    def put(
        self,
        reference: Reference | None,
        descriptor: Descriptor,
        platform: Platform | None = None,
        *,
        resolved: Digest | None = None,
        original: Digest | None = None,
        size: int | None = None,
    ) -> Image:
        """Give the manifest, which is among the blobs with all it needs, this name; what had the name keeps its other names.

        `resolved` is the digest the name stood for, `original` that of the manifest in docker's form; `size` the bytes of the unpacked layers.
        """
        annotations = {layout.REFERENCE_NAME: str(reference)} if reference else {}
        if resolved and resolved != descriptor.digest:
            annotations[index.RESOLVED] = str(resolved)
        if original and original != descriptor.digest:
            annotations[index.ORIGINAL] = str(original)
        if size is not None:
            annotations[index.UNPACKED_SIZE] = str(size)
        manifest = self._manifest(descriptor)
        annotations |= {index.IDENTITY: manifest.config.digest.hex, index.CREATED: self._config(manifest).created}
        new = Descriptor(descriptor.media_type, descriptor.digest, descriptor.size, annotations, platform or descriptor.platform)
        with lock(self._store, "image"):
            entries = index.added(self.entries(), new)
            self.write(entries)
            return self.read([entry for entry in entries if entry.digest == new.digest])

    def tag(self, name_or_id: str, target: Reference) -> None:
        """Give an image one more name; what had it keeps its other names. Raises ImageNotFound."""
        with lock(self._store, "image"):
            entries = self.entries()
            source = index.by_name(entries, index.parsed(name_or_id)) or self._by_id(entries, name_or_id)[0][-1]
            if index.name_of(source) != str(target):
                self.write(index.added(entries, source.annotated(source.annotations | {layout.REFERENCE_NAME: str(target)})))

    def untag(self, name_or_id: str, targets: Collection[Reference] = ()) -> list[Reference]:
        """Take these names, or all, from an image, which stays; returns them. Raises ImageNotFound, also where a name is not the image's."""
        with lock(self._store, "image"):
            entries = self.entries()
            entry = index.by_name(entries, index.parsed(name_or_id))
            image_id = self._id(entry) if entry else self._by_id(entries, name_or_id)[1]
            named = {index.name_of(entry): entry for entry in entries if index.name_of(entry) and self._id(entry) == image_id}
            for target in targets:
                if str(target) not in named:
                    raise ImageNotFound(f"untag image {name_or_id}: {target.familiar}: tag not known")
            gone = [named[text] for text in (map(str, targets) if targets else named)]
            left = tuple(entry for entry in entries if entry not in gone)
            for entry in gone:
                if not any(other.digest == entry.digest for other in left):
                    left = (*left, entry.annotated(index.without_name(entry)))
            if gone:
                self.write(left)
            return [reference for entry in gone if (reference := index.reference_of(entry))]

    def remove(
        self,
        name_or_id: str,
        force: bool = False,
        in_use: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        *,
        user_namespace: UserNamespace | None = None,
    ) -> list[str]:
        """Take a name away, and with its last name the image with every blob and layer that nothing else needs; returns docker's lines.

        `in_use` tells by an image's id what uses it (`running container 0123456789ab`); a callable is asked under the lock. Such an image is only
        removed, or rather left without a name, with `force`. Raises ImageNotFound, ImageInUse.
        """
        with lock(self._store, "image"):
            used = in_use() if callable(in_use) else in_use or {}
            entries = self.entries()
            going, image_id = self._going(entries, name_or_id, force=force)
            kept = tuple(entry for entry in entries if entry not in going)
            lines = [f"Untagged: {reference.familiar}" for entry in going if (reference := index.reference_of(entry))]
            if any(self._id(entry) == image_id for entry in kept):
                reclaim.drop(self, self._store, kept)  # it may have been another manifest of the same image
                return lines
            lines += [
                f"Untagged: {digest.familiar}"
                for digest in index.repo_digests(going)
                if f"Untagged: {digest.familiar}" not in lines
            ]
            if image_id in used:
                by_name = index.by_name(entries, index.parsed(name_or_id)) is not None
                if not (force and lines and (by_name or not used[image_id].startswith("running"))):
                    raise _conflict(name_or_id, image_id, used[image_id], by_name=by_name)
                self.write((*kept, *(entry.annotated(index.without_name(entry)) for entry in going[:1])))
                return lines
            removed = reclaim.drop(self, self._store, kept).layers
        from crate_engine.layers.store import empty_trash

        empty_trash(self._store, user_namespace)
        return [*lines, f"Deleted: sha256:{image_id}", *(f"Deleted: {digest}" for digest in removed)]

    def prune(self) -> list[Digest]:
        """Remove blobs and put layers into the trash that no entry and no pull needs; returns the layers' diff ids. Holds the lock `image`."""
        return list(reclaim.collect(self, self._store, self.entries()).layers)

    def needs(self, entry: Descriptor) -> set[str]:
        """The digests of all blobs and layers of an entry's image. Raises ImageError or StoreError where that cannot be told."""
        manifest = self._manifest(entry)
        blobs = {str(entry.digest), str(manifest.config.digest), *(str(layer.digest) for layer in manifest.layers)}
        blobs.update(filter(None, [entry.annotations.get(index.ORIGINAL)]))
        return blobs | {str(digest) for digest in self._config(manifest).diff_ids}

    def _going(self, entries: tuple[Descriptor, ...], name_or_id: str, *, force: bool) -> tuple[list[Descriptor], str]:
        """The entries that a removal takes away, and the id of their image."""
        entry = index.by_name(entries, index.parsed(name_or_id))
        if entry is not None:
            return [entry], self._id(entry)
        going, image_id = self._by_id(entries, name_or_id)
        names = [reference.familiar for entry in going if (reference := index.reference_of(entry))]
        if len(names) > 1 and not force:
            raise ImageInUse(
                f"remove image {name_or_id}: conflict: unable to delete {image_id[:_SHOWN]} (must be forced) - "
                f"image is referenced in multiple repositories: {', '.join(names)}",
                hint="remove it by name, or force the removal",
            )
        return going, image_id

    def _by_id(self, entries: tuple[Descriptor, ...], text: str) -> tuple[list[Descriptor], str]:
        """All entries of the one image whose id begins like this, and the whole id."""
        match = _ID.fullmatch(text)
        if match and len(match[1]) >= (1 if text.startswith("sha256:") else _SHORTEST_ID):
            found: dict[str, list[Descriptor]] = {}
            for entry in entries:
                if (image_id := self._id(entry)).startswith(match[1]):
                    found.setdefault(image_id, []).append(entry)
            if len(found) == 1:
                ((image_id, same),) = found.items()
                return same, image_id
            if found:
                raise ImageNotFound(f"find image {text}: several ids begin like this", hint="give more digits")
        raise ImageNotFound(
            f"find image {text}: there is no such image here", hint=f"crate pull {text}, or crate images for a list"
        )

    def entries(self) -> tuple[Descriptor, ...]:
        """What index.json has: an entry for each name, and for each image without one. Raises StoreError."""
        path = f"{self._store.oci}/{layout.INDEX}"
        try:
            with open(path, "rb") as file:
                raw = file.read(limits.INDEX_FILE_BYTES + 1)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"read {path}: {error.strerror}") from error
        try:
            return layout.parse_index(raw)
        except ImageError as error:
            raise StoreError(f"read {path}: {error}", hint="crate system check --repair") from error

    def begin(self) -> None:
        """Write the index of an empty store, so that one that has blobs and no index is a damaged one. The caller holds the lock `image`."""
        if not os.path.exists(f"{self._store.oci}/{layout.INDEX}") and not self.blobs.all():
            self.write(())

    def write(self, entries: tuple[Descriptor, ...], *, keep_previous: bool = True) -> None:
        """Make these the whole index; the one before stays beside it, for a repair. The caller holds the lock `image`."""
        directory = self._store.oci
        durable.sweep(directory)
        if not os.path.exists(f"{directory}/{layout.MARKER}"):
            durable.write(f"{directory}/{layout.MARKER}", layout.MARKER_CONTENT)
        if keep_previous:
            _keep_previous(f"{directory}/{layout.INDEX}")
        durable.write(f"{directory}/{layout.INDEX}", layout.dump_index(entries))

    def read(self, entries: list[Descriptor]) -> Image:
        """From all entries of one manifest."""
        newest = entries[-1]
        manifest = self._manifest(newest)
        config = self._config(manifest)
        if len(config.diff_ids) != len(manifest.layers):
            raise ImageError(
                f"read image {newest.digest}: it has {len(manifest.layers)} layers and {len(config.diff_ids)} diff ids"
            )
        sizes = [
            text for entry in entries if (text := entry.annotations.get(index.UNPACKED_SIZE, "")).isascii() and text.isdigit()
        ]
        return Image(
            id=manifest.config.digest.hex,
            names=tuple(reference for entry in entries if (reference := index.reference_of(entry))),
            manifest=manifest,
            descriptor=newest,
            config=config,
            size=int(sizes[-1]) if sizes else sum(layer.size for layer in manifest.layers),
            repo_digests=index.repo_digests(entries),
            original=index.original_of(entries),
        )

    def _manifest(self, entry: Descriptor) -> Manifest:
        return Manifest.from_json(self.blobs.read(entry.digest, limits.MANIFEST_BYTES), entry.media_type)

    def _config(self, manifest: Manifest) -> ImageConfig:
        return ImageConfig.from_json(self.blobs.read(manifest.config.digest))

    def _id(self, entry: Descriptor) -> str:
        if _ID.fullmatch(identity := entry.annotations.get(index.IDENTITY, "")) and len(identity) == 64:
            return identity
        try:
            return self._manifest(entry).config.digest.hex  # another program wrote the entry
        except CrateError:
            return entry.digest.hex  # damaged, and removable all the same


def _keep_previous(path: str) -> None:
    """Where the file system has no hard links, or no room, there is none."""
    with suppress(OSError):
        with suppress(FileNotFoundError):
            os.unlink(path + PREVIOUS)
        os.link(path, path + PREVIOUS)


def _merged(images: list[Image]) -> list[Image]:
    """Manifests that share a configuration are one image: the same layers, compressed in another way."""
    by_id: dict[str, Image] = {}
    for image in images:
        first = by_id.get(image.id)
        if first is None:
            by_id[image.id] = image
        else:
            names, digests = first.names + image.names, first.repo_digests + image.repo_digests
            by_id[image.id] = replace(image, names=names, repo_digests=digests)
    return list(by_id.values())


def _conflict(asked: str, image_id: str, user: str, *, by_name: bool) -> ImageInUse:
    """In docker's words, which scripts look for."""
    short = image_id[:_SHOWN]
    running, container = user.startswith("running"), user.rpartition("container ")[2] if "container " in user else ""
    if by_name:
        conflict = f'unable to remove repository reference "{asked}" (must force)'
        use = f"container {container} is using its referenced image {short}" if container else f"it is {user}"
    else:
        conflict = f"unable to delete {short} ({'cannot' if running else 'must'} be forced)"
        use = f"image is being used by {user}" if container else f"it is {user}"
    hint = "remove the container first, or force the removal of the name" if container else f"crate image unmount {asked}"
    return ImageInUse(f"remove image {asked}: conflict: {conflict} - {use}", hint=hint)
