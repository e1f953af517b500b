"""One blob again, from where an image that needs it came from: the registry that its name says, or crate itself.

Verified like every other download; the damaged file is replaced in one step, when the new one is complete.
"""

from __future__ import annotations

from tempfile import TemporaryDirectory

from crate_engine import embedded, limits
from crate_engine.errors import CrateError, DigestMismatch, StoreError
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.oci.manifest import Manifest
from crate_engine.store import index
from crate_engine.store.blobs import BlobStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.oci.descriptor import Descriptor
    from crate_engine.reference import Reference
    from crate_engine.registry.access import Access
    from crate_engine.registry.client import Registry
    from crate_engine.store.paths import Store
    from crate_engine.upkeep.audit import Audit


def blob(store: Store, found: Audit, digest: Digest, access: Access) -> None:
    """Raises CrateError where no name of an image leads to it."""
    failure: CrateError | None = None
    for entry in found.users.get(digest, ()):
        reference = index.reference_of(entry)
        if reference is None:
            continue
        try:
            if str(reference) == embedded.NAME:
                _from_crate(store, digest)
            else:
                _from_registry(store, found, reference, entry, digest, access)
            return
        except CrateError as error:
            failure = failure or error
    raise failure or StoreError(f"fetch blob {digest}: no name says which registry has it", hint="load the image, or remove it")


def _from_crate(store: Store, digest: Digest) -> None:
    with TemporaryDirectory(prefix="crate-") as directory:
        embedded.layout(directory)
        try:
            with open(f"{directory}/{layout.blob_path(digest)}", "rb") as file:
                content = file.read()
        except FileNotFoundError as error:
            raise StoreError(f"make blob {digest}: this version of crate has another image", hint="pull it again") from error
    BlobStore(store).add(content, digest, replace=True)


def _from_registry(store: Store, found: Audit, reference: Reference, entry: Descriptor, digest: Digest, access: Access) -> None:
    from crate_engine.registry import registries_conf
    from crate_engine.registry.client import Registry

    registry = Registry(registries_conf.load(short_names=False).endpoints(reference), access)
    try:
        if digest == entry.digest:
            BlobStore(store).add(_manifest(registry, reference, entry), digest, replace=True)
            return
        if digest == index.original_of([entry]):
            BlobStore(store).add(registry.manifest(reference, digest)[0], digest, replace=True)
            return
        wanted = found.blobs[digest]
        with BlobStore(store).ingest(digest, wanted.size, replace=True) as writer:
            continued = writer.offset > 0
            try:
                registry.fetch(reference, wanted, writer, lambda count: None)
                writer.commit()
            except DigestMismatch:
                if not continued:
                    raise
                registry.fetch(reference, wanted, writer, lambda count: None)
                writer.commit()
    finally:
        registry.close()


def _manifest(registry: Registry, reference: Reference, entry: Descriptor) -> bytes:
    """In OCI's form, as the store keeps it: made from docker's the same way as when it was pulled."""
    original = entry.annotations.get(index.ORIGINAL, "")
    raw, media_type, _ = registry.manifest(reference, Digest.parse(original, "index.json") if original else entry.digest)
    if len(raw) > limits.MANIFEST_BYTES or entry.digest.matches(raw):
        return raw
    return Manifest.from_json(raw, media_type or None).to_oci()
