"""Repairing a store: one thing after the other, each by itself, until nothing is left that can be repaired. Nothing is wiped.

Documents and blobs come again from the registry that a name of the image says, layers are unpacked again from their blobs, the index is put
together from what is left of it. Where the only remedy would lose something of the user's, the repair fails and says so.
"""

from __future__ import annotations

import os

from crate_engine.errors import CrateError, StoreError
from crate_engine.layers.store import LayerStore
from crate_engine.oci import layout
from crate_engine.oci.digest import Digest
from crate_engine.store import durable, index, reclaim
from crate_engine.store.containers import ContainerStore
from crate_engine.store.locks import lock
from crate_engine.upkeep import audit, refetch, salvage
from crate_engine.upkeep.collect import collect
from crate_engine.upkeep.finding import BLOB, CONTAINER, INDEX, LAYER, LEFTOVER, LOCK, NAME, Finding, Report
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.registry.access import Access
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace
    from crate_engine.upkeep.audit import Audit

_ROUNDS = 6
"""What is found depends on what could be read: a repaired index shows its blobs, a repaired manifest its layers."""
_ORDER = (INDEX, BLOB, LAYER, CONTAINER, NAME, LOCK, LEFTOVER)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`report` is of the first look; `repaired` and `failed` (with the reason) are all findings, also those that came up on the way."""

    report: Report
    repaired: tuple[Finding, ...] = ()
    failed: tuple[tuple[Finding, str], ...] = ()


def check(store: Store, user_namespace: UserNamespace, *, full: bool) -> Report:
    """Raises StoreError where the store cannot be read."""
    return audit.examine(store, user_namespace, full=full).report(len(os.listdir(store.containers)))


def repair(store: Store, user_namespace: UserNamespace, access: Access, *, full: bool) -> Outcome:
    """Look, repair, and look again. Forks: the process must have no threads."""
    report: Report | None = None
    repaired: dict[Finding, None] = {}
    failed: dict[Finding, str] = {}
    for _ in range(_ROUNDS):
        # A thorough look once is enough: whatever is repaired is verified as it is written.
        found = audit.examine(store, user_namespace, full=full and report is None)
        report = report or found.report(len(os.listdir(store.containers)))
        todo = [finding for finding in found.findings if finding not in failed]
        if not todo:
            break
        _round(_Repair(store, user_namespace, access, found), todo, repaired, failed)
    assert report is not None
    return Outcome(report, tuple(finding for finding in repaired if finding not in failed), tuple(failed.items()))


def _round(act: _Repair, todo: list[Finding], repaired: dict[Finding, None], failed: dict[Finding, str]) -> None:
    for finding in sorted(todo, key=lambda finding: _ORDER.index(finding.kind)):
        if finding in repaired:
            failed[finding] = "it was repaired, and is damaged again"
            continue
        try:
            act.on(finding)
        except CrateError as error:
            failed[finding] = f"{error}" + (f" ({error.hint})" if error.hint else "")
        except OSError as error:
            failed[finding] = str(error.strerror)
        else:
            repaired[finding] = None


class _Repair:
    """What is done about each kind of finding."""

    def __init__(self, store: Store, user_namespace: UserNamespace, access: Access, found: Audit) -> None:
        self._store = store
        self._user_namespace = user_namespace
        self._access = access
        self._found = found
        self._containers = ContainerStore(store)
        self._collected = False

    def on(self, finding: Finding) -> None:
        acts = {INDEX: self._index, BLOB: self._blob, LAYER: self._layer, CONTAINER: self._container, NAME: self._name}
        acts |= {LOCK: self._lock, LEFTOVER: self._leftover}
        acts[finding.kind](finding)

    def _index(self, finding: Finding) -> None:
        if finding.name not in (layout.INDEX, layout.MARKER):
            raise StoreError("it cannot be repaired: the image itself is wrong", hint="remove it")
        with lock(self._store, "image"):
            try:
                whole = os.path.exists(f"{self._store.oci}/{layout.INDEX}")
                entries = self._found.images.entries() if whole else ()
            except StoreError:
                whole = False
            if not whole:
                entries = salvage.entries(self._found.images, self._store)
            self._found.images.write(entries, keep_previous=False)

    def _blob(self, finding: Finding) -> None:
        refetch.blob(self._store, self._found, Digest.parse(finding.name), self._access)

    def _layer(self, finding: Finding) -> None:
        from crate_engine.layers.transfer import Transfer, bring

        family, _, name = finding.name.partition(":")
        diff_id, layers = Digest("sha256", name), LayerStore(self._store, self._user_namespace)
        if family != ("single" if self._user_namespace.mode == "single" else "sha256"):
            if name in reclaim.container_layers(self._store):
                raise StoreError("a container stands on it that was made with other ids", hint="remove the container")
            LayerStore(self._store).discard_one(family, name)
            return
        source = self._found.sources.get(name)
        if source is None:
            raise StoreError("no image here says what it is unpacked from", hint="pull the image of the container again")
        self._not_in_use(name, source.digest)
        if not self._found.images.blobs.has(source.digest, source.size) or not audit.matches(self._found.images, source.digest):
            refetch.blob(self._store, self._found, source.digest, self._access)
        layers.take_apart(family, name)
        bring(self._store, [Transfer(source, diff_id, False, True)], self._user_namespace)

    def _not_in_use(self, name: str, blob: Digest) -> None:
        """Its tree is exchanged, and must not be part of a mounted root meanwhile."""
        from crate_engine import image_mounts

        for record in self._containers.all():
            stands = any(path.split("/")[-2:-1] == [name] for path in record.snapshot.get("lower", ()))
            if stands and self._containers.condition(record.id).status in ("running", "starting", "stopping"):
                raise StoreError(f"container {record.name} runs on it", hint=f"crate stop {record.name}")
        mounted = image_mounts.all(self._store)
        for entry in self._found.users.get(blob, ()):
            if (image := entry.annotations.get(index.IDENTITY, "")) in mounted:
                raise StoreError(f"image {image[:12]} is mounted", hint=f"crate image unmount {image[:12]}")

    def _container(self, finding: Finding) -> None:
        record = self._containers.read(finding.name)  # a damaged record cannot be made again
        if record is None:
            return
        if "image" in finding.problem:
            self._image_of(record.image_id)
        elif record.snapshot["kind"] == "copy":
            raise StoreError("its files cannot be made again", hint=f"crate rm {record.name}")
        else:
            with self._containers.lock(record.id):
                for name in ("rootfs", "upper", "work"):
                    if not os.path.lexists(path := f"{self._containers.directory(record.id)}/{name}"):
                        os.mkdir(path, 0o700)

    def _image_of(self, identity: str) -> None:
        """Put an image into the index again, without a name, whose manifest is still among the blobs."""
        with lock(self._store, "image"):
            known = self._found.images.entries()
            for entry in salvage.whole_manifests(self._found.images):
                if entry.annotations[index.IDENTITY] == identity:
                    self._found.images.write((*known, entry))
                    return
        raise StoreError("the image is not among the blobs any more", hint="pull it again; the container itself can be started")

    def _name(self, finding: Finding) -> None:
        for record in self._containers.all():
            if record.name == finding.name:
                with self._containers.lock(record.id):
                    if not self._containers.adopt_name(record):
                        raise StoreError("another container has it", hint=f"name this one by its id: {record.id[:12]}")
                return
        durable.remove_tree(self._containers.name_link(finding.name))

    def _lock(self, finding: Finding) -> None:
        durable.remove_tree(f"{self._store.root}/{finding.name}")

    def _leftover(self, finding: Finding) -> None:
        if not self._collected:
            collect(self._store, self._user_namespace)
            self._collected = True
