"""Looking through the images of a store: index, blobs and layers. Changes nothing; `repair` acts on what is found.

Quick, it reads every document and asks for the size of every blob and the record of every layer; full, it reads every blob as well. The lock
`image` is held for the quick part only, so that what pulls and removals are doing is not taken for damage.
"""

from __future__ import annotations

import hashlib
import os

from crate_engine import limits
from crate_engine.errors import CrateError, ImageError, StoreError
from crate_engine.layers.store import LayerStore
from crate_engine.oci import layout, media_types
from crate_engine.oci.descriptor import Descriptor
from crate_engine.oci.digest import Digest
from crate_engine.oci.image_config import ImageConfig
from crate_engine.oci.manifest import Manifest
from crate_engine.store import index, leases, reclaim
from crate_engine.store.images import ImageStore
from crate_engine.store.locks import lock
from crate_engine.upkeep import leftovers, records
from crate_engine.upkeep.finding import BLOB, INDEX, LAYER, LEFTOVER, Finding, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace

_CHUNK = 1 << 20


def examine(store: Store, user_namespace: UserNamespace, *, full: bool = False) -> Audit:
    """Everything. Forks where layers are compared: the process must have no threads. Raises StoreError where the store cannot be read."""
    audit = Audit(store)
    with lock(store, "image"):
        audit.images_quick()
    audit.findings += records.examine(store, audit.image_ids())
    if full:
        audit.contents()
        audit.trees(user_namespace)
    audit.findings += leftovers.examine(store)
    return audit


class Audit:
    """`findings` so far, and what a repair wants to know: which entries need a blob, which blob makes a layer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.images = ImageStore(store)
        self._layers = LayerStore(store)
        self.findings: list[Finding] = []
        self.users: dict[Digest, list[Descriptor]] = {}
        """By blob, the entries of the index that need it."""
        self.blobs: dict[Digest, Descriptor] = {}
        """Every blob that an image needs, as a descriptor."""
        self.sources: dict[str, Descriptor] = {}
        """By the hexadecimal diff id of a layer, its blob."""
        self._identities: set[str] = set()
        self._certain = True
        self._seen = 0

    def report(self, containers: int) -> Report:
        return Report(tuple(self.findings), len(self._identities), self._seen, len(self._layers.all()), containers)

    def image_ids(self) -> set[str] | None:
        """Of all images in the index; None where that cannot be told."""
        return self._identities if self._certain else None

    def images_quick(self) -> None:
        here = self.images.blobs.all()
        self._seen = len(here)
        entries = self._entries(bool(here))
        for entry in entries:
            self._image(entry)
        for digest, blob in self.blobs.items():
            self._blob(digest, blob)
        self._unneeded(entries)
        self._layer_records()

    def _entries(self, expected: bool) -> tuple[Descriptor, ...]:
        path = f"{self._store.oci}/{layout.INDEX}"
        if not os.path.exists(path) and not expected:
            return ()
        if not os.path.exists(f"{self._store.oci}/{layout.MARKER}"):
            self._found(INDEX, layout.MARKER, "it is missing: no other program takes the store for an image layout")
        if not os.path.exists(path):
            self._found(INDEX, layout.INDEX, "it is missing")
            self._certain = False
            return ()
        try:
            return self.images.entries()
        except StoreError as error:
            self._found(INDEX, layout.INDEX, str(error).removeprefix(f"read {path}: "))
            self._certain = False
            return ()

    def _image(self, entry: Descriptor) -> None:
        """Its documents; what they name is looked at later, each blob once."""
        self._needs(entry, entry)
        try:
            manifest = Manifest.from_json(self.images.blobs.read(entry.digest, limits.MANIFEST_BYTES), entry.media_type)
        except (ImageError, StoreError) as error:
            self._document(entry, entry.digest, error)
            return
        self._needs(entry, manifest.config)
        original = index.original_of([entry])
        if original is not None and os.path.lexists(self.images.blobs.path(original)):  # without it, OCI's form is pushed
            self._needs(entry, Descriptor(media_types.DOCKER_MANIFEST, original, self.images.blobs.size(original)))
        for blob in manifest.layers:
            self._needs(entry, blob)
        try:
            config = ImageConfig.from_json(self.images.blobs.read(manifest.config.digest))
        except (ImageError, StoreError) as error:
            self._document(entry, manifest.config.digest, error)
            return
        if len(config.diff_ids) != len(manifest.layers):
            self._found(INDEX, _named(entry), "its manifest and its configuration have different numbers of layers")
            return
        self._identities.add(manifest.config.digest.hex)
        self.sources |= {diff_id.hex: blob for diff_id, blob in zip(config.diff_ids, manifest.layers, strict=True)}

    def _needs(self, entry: Descriptor, blob: Descriptor) -> None:
        self.blobs.setdefault(blob.digest, blob)
        users = self.users.setdefault(blob.digest, [])
        if entry not in users:
            users.append(entry)

    def _document(self, entry: Descriptor, digest: Digest, error: CrateError) -> None:
        self._certain = False
        if self.images.blobs.has(digest, self.blobs[digest].size):  # else said with the sizes
            self._blob_damaged(digest, str(error).removeprefix(f"read blob {digest}: "))

    def _blob(self, digest: Digest, blob: Descriptor) -> None:
        if not self.images.blobs.has(digest, blob.size):
            there = os.path.lexists(self.images.blobs.path(digest))
            size = self.images.blobs.size(digest)
            self._blob_damaged(digest, f"it has {size} bytes, not {blob.size}" if there else "it is missing")

    def _blob_damaged(self, digest: Digest, problem: str) -> None:
        names = ", ".join(dict.fromkeys(map(_named, self.users.get(digest, []))))
        if not any(finding.kind == BLOB and finding.name == str(digest) for finding in self.findings):
            self._found(BLOB, str(digest), f"{problem}; needed by {names}")

    def _unneeded(self, entries: tuple[Descriptor, ...]) -> None:
        if not self._certain:
            return
        gone = reclaim.unneeded(self.images, self._store, entries)
        for digest in gone.blobs:
            self._found(LEFTOVER, f"blob {digest}", "no image needs it", damage=False)
        for digest in gone.layers:
            self._found(LEFTOVER, f"layer {digest}", "no image needs it", damage=False)
        for algorithm in ("sha256", "sha512"):
            known = {digest.hex for digest in self.images.blobs.all() if digest.algorithm == algorithm}
            directory = f"{self._store.oci}/blobs/{algorithm}"
            for name in os.listdir(directory) if os.path.isdir(directory) else ():
                if name not in known:
                    self._found(LEFTOVER, f"oci/blobs/{algorithm}/{name}", "it is no blob", damage=False)

    def _layer_records(self) -> None:
        protected = leases.protected(self._store)
        needed = set(self.sources) | reclaim.container_layers(self._store)
        here: set[str] = set()
        for family, name, problem in self._layers.damaged():
            here.add(name)
            if problem and name in needed:  # one that nothing needs is among the leftovers
                self._found(LAYER, f"{family}:{name}", problem)
        for name in sorted(needed - here):
            users = reclaim.container_layers(self._store)
            if name in users:
                self._found(LAYER, f"sha256:{name}", "it is missing, and a container stands on it")
            elif f"sha256:{name}" not in protected:
                self._found(LAYER, f"sha256:{name}", "it is not unpacked; that is done when it is used", damage=False)

    def contents(self) -> None:
        """The digest of every blob that is not known to be damaged. One that is removed meanwhile is no damage."""
        damaged = {finding.name for finding in self.findings if finding.kind == BLOB}
        for digest in self.images.blobs.all():
            if str(digest) not in damaged and not matches(self.images, digest):
                if digest in self.users:
                    self._blob_damaged(digest, "its content was changed on disk")
                else:
                    self._found(LEFTOVER, f"blob {digest}", "its content was changed on disk; no image needs it", damage=False)

    def trees(self, user_namespace: UserNamespace) -> None:
        """Every layer against what its blob unpacks to."""
        from crate_engine.upkeep import trees

        damaged = {finding.name for finding in self.findings}
        whole = {name: blob for name, blob in self.sources.items() if str(blob.digest) not in damaged}
        for name, problem in trees.different(self._store, user_namespace, whole):
            if f"sha256:{name}" not in damaged:
                self._found(LAYER, f"{'single' if user_namespace.mode == 'single' else 'sha256'}:{name}", problem)

    def _found(self, kind: str, name: str, problem: str, *, damage: bool = True) -> None:
        self.findings.append(Finding(kind, name, problem, damage))


def matches(images: ImageStore, digest: Digest) -> bool:
    """Whether the content of a blob has its digest; True of one that is gone. Raises StoreError."""
    found = hashlib.new(digest.algorithm)
    try:
        with open(images.blobs.path(digest), "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # EIO: the disk cannot read it
    return found.hexdigest() == digest.hex


def _named(entry: Descriptor) -> str:
    reference = index.reference_of(entry)
    return reference.familiar if reference else f"image {entry.annotations.get(index.IDENTITY, entry.digest.hex)[:12]}"
