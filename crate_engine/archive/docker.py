"""Reading docker archives (`docker save`): manifest.json, or of docker before 1.10 the file `repositories` and a directory for each layer.

Everything is named by the archive's own table of contents, and nothing is believed: ids and digests are computed from the content. The result is
an OCI manifest made here, over the configuration and the layers as they are, byte for byte.
"""

from __future__ import annotations

import hashlib
import json

from crate_engine import limits
from crate_engine.archive import expand
from crate_engine.archive.files import read
from crate_engine.errors import ImageError, InvalidReference
from crate_engine.intake import Resolved
from crate_engine.oci import media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest
from crate_engine.oci.strict_json import Fields, dump, parse
from crate_engine.reference import Reference
from crate_engine.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from crate_engine.archive.files import Files
    from crate_engine.oci.platform import Platform
    from crate_engine.store.blobs import BlobWriter

MANIFEST, REPOSITORIES = "manifest.json", "repositories"
_ENTRY = frozenset({"Config", "RepoTags", "Layers", "Parent", "LayerSources"})
_V1 = frozenset({"id", "parent", "created", "author", "config", "container_config", "comment", "os", "architecture", "variant"})
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class DockerImage:
    """`members` are the names of its layers, the lowest first. `names` may be empty."""

    raw_config: bytes
    members: tuple[str, ...]
    names: tuple[Reference, ...]


class DockerArchive:
    """Raises ImageError."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.what = files.what
        self._layers: dict[str, Descriptor] = {}
        self._places: dict[Digest, str] = {}

    def images(self) -> list[DockerImage]:
        if self._files.has(MANIFEST):
            images, size = [], 0
            for place, entry in enumerate(self._entries()):
                images.append(self._image(entry, f"{MANIFEST}[{place}]"))
                size += len(images[-1].raw_config)
                if size > limits.ARCHIVE_DOCUMENTS:
                    raise ImageError(f"{self.what}: its configurations have more than {limits.ARCHIVE_DOCUMENTS} bytes")
            return images
        return _Legacy(self._files).images()

    def resolve(self, image: DockerImage, platform: Platform | None) -> Resolved:
        """Reads each compressed layer once, to find its digest; what is not compressed must have that of its diff id."""
        config = ImageConfig.from_json(image.raw_config)
        if len(config.diff_ids) != len(image.members):
            raise ImageError(f"{self.what}: an image has {len(image.members)} layers and {len(config.diff_ids)} diff ids")
        layers = tuple(self._layer(name, diff_id) for name, diff_id in zip(image.members, config.diff_ids, strict=True))
        described = Descriptor(media_types.OCI_CONFIG, Digest.of(image.raw_config), len(image.raw_config))
        raw = Manifest(media_types.OCI_MANIFEST, described, layers).to_oci()
        manifest = Manifest.from_json(raw)
        return Resolved.of(manifest, raw, image.raw_config, original=Digest.of(raw), what=self.what, platform=platform)

    def fetch(self, descriptor: Descriptor, writer: BlobWriter, on_piece: Callable[[int], None]) -> None:
        """For `transfer.bring`: the writer checks size and digest."""
        for block in self._files.blocks(self._places[descriptor.digest], writer.offset):
            writer.write(block)
            on_piece(len(block))

    def _entries(self) -> list[Any]:
        raw = read(self._files, MANIFEST, limits.MANIFEST_BYTES)
        # The one document of images that is no object; wrapped, it is read as strictly as the others.
        document = parse(b'{"images":' + raw + b"}", MANIFEST)
        if document.keys() != {"images"}:
            raise ImageError(f"{self.what}: {MANIFEST} is not one list")
        entries: list[Any] = Fields(document, MANIFEST, frozenset({"images"})).array("images", limit=limits.INDEX_ENTRIES)
        return entries

    def _image(self, entry: object, where: str) -> DockerImage:
        fields = Fields(entry, where, _ENTRY)
        config = checked_name(fields.text("Config", required=True), f"{where}.Config")
        layers = fields.texts("Layers")
        if len(layers) > limits.LAYERS:
            raise ImageError(f"{where}.Layers: there are more than {limits.LAYERS}")
        members = tuple(checked_name(name, f"{where}.Layers[{place}]") for place, name in enumerate(layers))
        for name in members:
            self._files.size(name)
        names = tuple(_reference(text, f"{where}.RepoTags") for text in fields.texts("RepoTags"))
        return DockerImage(read(self._files, config, limits.CONFIG_BYTES), members, names)

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        if name in self._layers:
            return self._layers[name]
        size = self._files.size(name)
        if size > limits.BLOB_BYTES:
            raise ImageError(f"{self.what}: {name} is larger than the {limits.BLOB_BYTES} bytes allowed")
        kind = expand.format_of(_head(self._files, name))
        if kind in (expand.XZ, expand.BZIP2):
            raise ImageError(f"{self.what}: the layer {name} is compressed with {kind}, which images may not use")
        digest = diff_id if kind == expand.PLAIN else _digest(self._files.blocks(name))
        descriptor = Descriptor(media_types.OCI_LAYER + (f"+{kind}" if kind else ""), digest, size)
        self._layers[name] = descriptor
        self._places[digest] = name
        return descriptor


def checked_name(name: str, where: str) -> str:
    """A member's plain relative name, `./` before it allowed; anything that could mean a place outside is refused (CVE-2014-9358)."""
    plain = name.removeprefix("./")
    if not plain or len(plain) > limits.PATH_BYTES or any(part in ("", ".", "..") for part in plain.split("/")):
        raise ImageError(f"{where}: {name[:140]!r} is no name of a file in the archive")
    return plain


def _reference(text: str, where: str) -> Reference:
    try:
        reference = Reference.parse(text)
    except InvalidReference as error:
        raise ImageError(f"{where}: {error}") from error
    if reference.digest is not None:
        raise ImageError(f"{where}: {text[:140]!r} is no tag")
    return reference


def _head(files: Files, name: str) -> bytes:
    return next(iter(files.blocks(name)), b"")[: expand.HEAD]


def _digest(blocks: Iterable[bytes]) -> Digest:
    found = hashlib.sha256()
    for block in blocks:
        found.update(block)
    return Digest("sha256", found.hexdigest())


@dataclass(frozen=True, slots=True)
class _OldLayer:
    """One directory of an old archive: a layer with the configuration of the image that ends with it."""

    id: str
    parent: str
    document: dict[str, Any] = field(hash=False)


class _Legacy:
    """The format before manifest.json: `repositories` names the uppermost layer of each tag, `<id>/json` the one below each layer."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._diff_ids: dict[str, str] = {}

    def images(self) -> list[DockerImage]:
        tops: dict[str, list[Reference]] = {}
        for name, top in self._tags():
            tops.setdefault(top, []).append(name)
        return [self._image(top, tuple(names)) for top, names in tops.items()]

    def _tags(self) -> Iterator[tuple[Reference, str]]:
        document = parse(read(self._files, REPOSITORIES, limits.MANIFEST_BYTES), REPOSITORIES)
        if not document or len(document) > limits.INDEX_ENTRIES:
            raise ImageError(f"{self._files.what}: {REPOSITORIES} names no image, or too many")
        for name, tags in document.items():
            if not isinstance(tags, dict):
                raise ImageError(f"{REPOSITORIES}.{name[:64]}: must be an object")
            for tag, top in tags.items():
                yield _reference(f"{name}:{tag}", REPOSITORIES), _layer_id(top, f"{REPOSITORIES}.{name[:64]}.{tag[:64]}")

    def _image(self, top: str, names: tuple[Reference, ...]) -> DockerImage:
        layers = self._chain(top)
        members = tuple(f"{layer.id}/layer.tar" for layer in layers)
        last = layers[-1].document
        config = {
            "architecture": last.get("architecture") or "amd64",
            "os": last.get("os") or "linux",
            **{name: last[name] for name in ("created", "author", "config", "variant") if last.get(name)},
            "rootfs": {"type": "layers", "diff_ids": [self._diff_id(name) for name in members]},
            "history": [_history(layer.document) for layer in layers],
        }
        return DockerImage(dump(config), members, names)

    def _chain(self, top: str) -> list[_OldLayer]:
        """The lowest first."""
        found: list[_OldLayer] = []
        wanted = top
        while wanted:
            if len(found) >= limits.LAYERS or any(layer.id == wanted for layer in found):
                raise ImageError(f"{self._files.what}: the layers of {top[:12]} go round in a circle, or are too many")
            name = f"{wanted}/json"
            document = parse(read(self._files, name, limits.CONFIG_BYTES), name)
            fields = Fields(document, name, _V1)
            parent = fields.text("parent")
            found.append(_OldLayer(wanted, _layer_id(parent, f"{name}.parent") if parent else "", document))
            wanted = found[-1].parent
        return found[::-1]

    def _diff_id(self, name: str) -> str:
        if name not in self._diff_ids:
            kind = expand.format_of(_head(self._files, name))
            self._diff_ids[name] = str(_digest(expand.expand(self._files.blocks(name), kind)))
        return self._diff_ids[name]


def _layer_id(text: object, where: str) -> str:
    if not isinstance(text, str) or len(text) != 64 or set(text) - _HEX:
        raise ImageError(f"{where}: {str(text)[:80]!r} is no id of a layer")
    return text


def _history(document: dict[str, Any]) -> dict[str, Any]:
    made = document.get("container_config")
    command = made.get("Cmd") if isinstance(made, dict) else None
    words = [word for word in command if isinstance(word, str)] if isinstance(command, list) else []
    texts = {"created_by": " ".join(words), **{name: document.get(name) for name in ("created", "author", "comment")}}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def manifest_entry(config: str, names: Iterable[Reference], layers: Iterable[str]) -> dict[str, Any]:
    """What a writer puts into manifest.json for one image."""
    tags = [name.familiar for name in names if name.tag]
    return {"Config": config, "RepoTags": tags or None, "Layers": list(layers)}


def dump_manifest(entries: list[dict[str, Any]]) -> bytes:
    return json.dumps(entries, separators=(",", ":")).encode()
