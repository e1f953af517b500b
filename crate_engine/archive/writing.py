"""Writing OCI image layouts and docker archives, into a directory or a tar stream (image-spec image-layout.md; what `docker save` writes since 25.0).

A docker archive is a layout with docker's manifest.json beside it, which names the same blobs: both kinds of readers find their documents, and no
layer is compressed anew. Blobs are checked against their digests while they are copied. What comes last makes the rest known.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os

from crate_engine import limits
from crate_engine.archive import docker
from crate_engine.archive.files import DirectoryFiles, read
from crate_engine.archive.layout import CONTAINERD_NAME
from crate_engine.errors import StoreError, UsageError
from crate_engine.layers import tarwriter
from crate_engine.layers.entries import Action, Entry
from crate_engine.layers.tar_fields import padding
from crate_engine.oci import layout
from crate_engine.store import durable
from crate_engine.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import BinaryIO, Protocol

    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.oci.digest import Digest
    from crate_engine.oci.manifest import Manifest
    from crate_engine.reference import Reference

    class Written(Protocol):
        """What is told of the layers while they are written; sizes and counts are in bytes."""

        def layer_started(self, digest: Digest, size: int) -> None: ...
        def advanced(self, digest: Digest, count: int) -> None: ...
        def layer_done(self, digest: Digest, cached: bool) -> None: ...

    class Sink(Protocol):
        """Where files go, each named once; names have no leading slash."""

        def add(self, name: str, size: int, blocks: Iterable[bytes]) -> None: ...
        def has(self, name: str, size: int) -> bool: ...


DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIRECTORY = "docker-archive", "oci-archive", "oci-dir"
FORMATS = (DOCKER_ARCHIVE, OCI_ARCHIVE, OCI_DIRECTORY)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An image to be written. `blocks` gives a layer's content, `label` is its `ref.name` where no name says one."""

    descriptor: Descriptor
    manifest: Manifest
    raw_manifest: bytes
    raw_config: bytes
    names: tuple[Reference, ...]
    blocks: Callable[[Descriptor], Iterator[bytes]] = field(hash=False)
    label: str = ""


def write_archive(stream: BinaryIO, images: Sequence[Outgoing], kind: str, progress: Written | None = None) -> None:
    """A docker archive or an OCI archive. Raises OSError, StoreError."""
    sink = TarSink(stream)
    _write_blobs(sink, images, progress)
    entries = _entries(images)
    _add(sink, layout.INDEX, layout.dump_index(entries))
    if kind == DOCKER_ARCHIVE:
        _add(sink, docker.MANIFEST, docker.dump_manifest([_docker_entry(image) for image in images]))
    _add(sink, layout.MARKER, layout.MARKER_CONTENT)
    stream.write(tarwriter.END)


def write_directory(path: str, images: Sequence[Outgoing], progress: Written | None = None) -> None:
    """A layout: a new directory, an empty one, or another layout, in which images of the same names are replaced. Raises UsageError, StoreError."""
    _prepare(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    files = DirectoryFiles(fd, f"write layout {path}")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)  # for two of us: other programs take no lock
        sink = DirectorySink(path)
        known: tuple[Descriptor, ...] = ()
        if files.has(layout.MARKER):
            layout.check_marker(read(files, layout.MARKER, limits.ERROR_BYTES))
            known = layout.parse_index(read(files, layout.INDEX, limits.INDEX_FILE_BYTES))
        _write_blobs(sink, images, progress)
        new = _entries(images)
        labels = {entry.annotations.get(layout.REFERENCE_NAME) for entry in new}
        digests = {entry.digest for entry in new}
        kept = [
            entry
            for entry in known
            if (label := entry.annotations.get(layout.REFERENCE_NAME)) not in labels and (label or entry.digest not in digests)
        ]
        if not files.has(layout.MARKER):
            durable.write(f"{path}/{layout.MARKER}", layout.MARKER_CONTENT, 0o644)
        durable.write(f"{path}/{layout.INDEX}", layout.dump_index((*kept, *new)), 0o644)
    finally:
        files.close()


def _prepare(path: str) -> None:
    try:
        os.makedirs(path, 0o755, exist_ok=True)
        names = set(os.listdir(path))
    except OSError as error:
        raise UsageError(f"write layout {path}: {error.strerror}") from error
    if names and layout.MARKER not in names and names - {"blobs"}:
        raise UsageError(f"write layout {path}: it is not empty, and no OCI image layout")


def _write_blobs(sink: Sink, images: Sequence[Outgoing], progress: Written | None) -> None:
    written: set[Digest] = set()

    def add(descriptor: Descriptor, blocks: Iterable[bytes]) -> bool:
        """Whether it had to be written."""
        name = layout.blob_path(descriptor.digest)
        new = descriptor.digest not in written and not sink.has(name, descriptor.size)
        if new:
            sink.add(name, descriptor.size, verified(blocks, descriptor))
        written.add(descriptor.digest)
        return new

    if progress is not None:
        for digest, size in {layer.digest: layer.size for image in images for layer in image.manifest.layers}.items():
            progress.layer_started(digest, size)
    for image in images:
        for layer in image.manifest.layers:
            known = layer.digest in written
            new = add(layer, _told(image.blocks(layer), layer.digest, progress))
            if progress is not None and not known:
                progress.layer_done(layer.digest, not new)
        add(image.manifest.config, [image.raw_config])
        add(image.descriptor, [image.raw_manifest])


def _told(blocks: Iterator[bytes], digest: Digest, progress: Written | None) -> Iterator[bytes]:
    for block in blocks:
        yield block
        if progress is not None:
            progress.advanced(digest, len(block))


def verified(blocks: Iterable[bytes], descriptor: Descriptor) -> Iterator[bytes]:
    """The same blocks; raises StoreError at their end where they are not what the descriptor says."""
    found, size = hashlib.new(descriptor.digest.algorithm), 0
    for block in blocks:
        found.update(block)
        size += len(block)
        if size > descriptor.size:
            break
        yield block
    if size != descriptor.size or found.hexdigest() != descriptor.digest.hex:
        raise StoreError(f"read blob {descriptor.digest}: its content was changed on disk", hint="pull the image again")


def _add(sink: Sink, name: str, content: bytes) -> None:
    sink.add(name, len(content), [content])


def _entries(images: Sequence[Outgoing]) -> tuple[Descriptor, ...]:
    """One entry a name. Its tag alone is the `ref.name`, as docker has it, where no other image of the layout has the same."""
    tags = [name.tag for image in images for name in image.names]
    entries = []
    for image in images:
        plain = image.descriptor.annotated({})
        named = [name for name in image.names if name.tag]
        for name in named:
            label = str(name.tag) if tags.count(name.tag) == 1 else str(name)
            entries.append(plain.annotated({CONTAINERD_NAME: str(name), layout.REFERENCE_NAME: image.label or label}))
        if not named:
            entries.append(plain.annotated({layout.REFERENCE_NAME: image.label} if image.label else {}))
    return tuple(entries)


def _docker_entry(image: Outgoing) -> dict[str, object]:
    layers = [layout.blob_path(layer.digest) for layer in image.manifest.layers]
    return docker.manifest_entry(layout.blob_path(image.manifest.config.digest), image.names, layers)


class TarSink:
    """Files of an archive, always with the same attributes: the same images make the same archive."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._directories: set[str] = set()

    def has(self, name: str, size: int) -> bool:
        return False

    def add(self, name: str, size: int, blocks: Iterable[bytes]) -> None:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            self._directory("/".join(parts[:depth]))
        self._stream.write(tarwriter.member(_entry(Action.FILE, name, 0o644, size)))
        for block in blocks:
            self._stream.write(block)
        self._stream.write(bytes(padding(size)))

    def _directory(self, name: str) -> None:
        if name not in self._directories:
            self._directories.add(name)
            self._stream.write(tarwriter.member(_entry(Action.DIRECTORY, name, 0o755, 0)))


def _entry(action: Action, name: str, mode: int, size: int) -> Entry:
    return Entry(action, name.encode(), b"", mode, 0, 0, size, 0, (0, 0), {})


class DirectorySink:
    """Files below a directory, each written as a whole and durable before it has its name."""

    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, name: str, size: int) -> bool:
        try:
            return os.lstat(f"{self._path}/{name}").st_size == size
        except FileNotFoundError:
            return False

    def add(self, name: str, size: int, blocks: Iterable[bytes]) -> None:
        path = f"{self._path}/{name}"
        directory = os.path.dirname(path)
        os.makedirs(directory, 0o755, exist_ok=True)
        temporary = f"{directory}/.{os.urandom(8).hex()}.tmp"
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                for block in blocks:
                    durable.write_all(fd, block)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
            durable.sync_directory(directory)
        except BaseException as error:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            if isinstance(error, OSError):
                raise StoreError(f"write {path}: {error.strerror}") from error
            raise


class OutputFile:
    """What `-o` names: a new file beside it that takes its place when all is written; a pipe or device is written as it is.

    As a context manager it gives the stream. An exception leaves what was there before.
    """

    def __init__(self, path: str, mode: int = 0o600) -> None:
        self._path = path
        self._mode = mode
        self._temporary = ""

    def __enter__(self) -> BinaryIO:
        try:
            if os.path.lexists(self._path) and not os.path.isfile(self._path):
                fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            else:
                self._path = os.path.realpath(self._path)  # a link is written through
                directory, name = os.path.split(self._path)
                self._temporary = f"{directory}/.{name[:100]}.{os.urandom(6).hex()}.tmp"
                fd = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, self._mode)
        except OSError as error:
            cause = "it is a directory" if error.errno == errno.EISDIR else error.strerror
            raise UsageError(f"write {self._path}: {cause}") from error
        self._stream = open(fd, "wb", buffering=1 << 20)
        return self._stream

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None:
                self._stream.flush()
                if self._temporary:
                    os.fsync(self._stream.fileno())
                    os.rename(self._temporary, self._path)
                    durable.sync_directory(os.path.dirname(self._path))
                    self._temporary = ""
        except OSError as failure:
            raise StoreError(f"write {self._path}: {failure.strerror}") from failure
        finally:
            try:
                self._stream.close()
            except OSError:
                pass
            if self._temporary:
                try:
                    os.unlink(self._temporary)
                except OSError:
                    pass
