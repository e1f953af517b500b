"""Unpacked layers on disk, each once, under the digest of its uncompressed content (the diff id).

`layers/sha256/<hex>/fs` is a layer's tree. Where only one id is mapped owners cannot be kept in the file system, so such trees have a place
of their own, `layers/single/<hex>/fs`: a user who later gets a range of ids gets right owners too. `layer.json` says that a layer is complete,
and of a range of ids which they were: where /etc/subuid has changed since, a layer counts as not here, and is unpacked again.
"""

from __future__ import annotations

import os
from contextlib import suppress

from crate_engine.errors import CrateError, StoreError
from crate_engine.oci.digest import Digest
from crate_engine.oci.strict_json import dump, parse
from crate_engine.store import durable, leases
from crate_engine.store.paths import Store, make_directory
from crate_engine.system import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from crate_engine.store.images import Image
    from crate_engine.system.userns import UserNamespace

_RECORD = "layer.json"
_UNPACKING = ".layer"
_STACKS = "stacks"
_FAMILIES = ("sha256", "single")


class LayerStore:
    """`user_namespace` decides which of the two forms of a layer is meant; without it, whichever is there."""

    def __init__(self, store: Store, user_namespace: UserNamespace | None = None) -> None:
        self._store = store
        self._user_namespace = user_namespace
        mode = user_namespace.mode if user_namespace else ""
        self._families = _FAMILIES if not mode else ("single",) if mode == "single" else ("sha256",)
        self._maps: dict[str, Any] = {}
        if user_namespace and mode == "range":
            self._maps = {"uid_map": user_namespace.uid_map, "gid_map": user_namespace.gid_map}

    def has(self, diff_id: Digest) -> bool:
        return self._find(diff_id) is not None

    def size(self, diff_id: Digest) -> int:
        """Bytes of the layer's uncompressed archive; 0 when it is not here."""
        path = self._find(diff_id)
        if path is None:
            return 0
        size = _read(path).get("size")
        return size if isinstance(size, int) else 0

    def directories(self, image: Image) -> list[str]:
        """The absolute paths of the image's trees, the lowest first. Raises StoreError where one is missing.

        The uppermost may be a tree of directories alone, whose attributes come from lower layers (see inheritance). It is made the first time
        that a store with a user namespace is asked; call that while the process has no threads.
        """
        trees = [self._tree(diff_id) for diff_id in image.config.diff_ids]
        if len(trees) < 2:
            return trees
        inherited = f"{os.path.dirname(trees[-1])}/{_STACKS}/{image.id}"
        if self._user_namespace and not os.path.exists(inherited):
            self._inherit(trees, inherited)
        return [*trees, f"{inherited}/fs"] if os.path.exists(f"{inherited}/fs") else trees

    def _inherit(self, trees: list[str], place: str) -> None:
        """`place` is there from then on; empty when nothing has to be restored. Made once, however many processes ask at a time."""
        work = f"stack-{os.path.basename(place)}"
        with leases.claim(self._store, work):
            if not os.path.exists(place):
                self._make_inherited(trees, place, f"{self._store.ingest}/{work}.{os.urandom(6).hex()}{_UNPACKING}")

    def _make_inherited(self, trees: list[str], place: str, partial: str) -> None:
        """The caller holds the claim by which `partial` is known to be worked at."""
        from crate_engine.layers import inheritance

        make_directory(partial)
        make_directory(os.path.dirname(place))
        if inheritance.is_needed(trees):
            try:
                userns.run(self._user_namespace or userns.choose(), inheritance.make, trees, partial)
            except OSError as error:
                raise StoreError(f"restore what layers inherit: {error.filename}: {error.strerror}") from error
        try:
            os.rename(partial, place)
        except OSError:
            durable.move_to_trash(partial, self._store.trash)  # its layer was removed meanwhile

    def missing(self, diff_ids: Iterable[Digest]) -> list[Digest]:
        """Those that are not here, each once, in order."""
        return [diff_id for diff_id in dict.fromkeys(diff_ids) if not self.has(diff_id)]

    def ensure(self, image: Image, user_namespace: UserNamespace) -> None:
        """Unpack from the store's blobs what is missing of an image's layers, as after a crash or a change of the ids one may use.

        Forks workers: call it while the process has no threads. Raises StoreError where a blob is missing as well.
        """
        from crate_engine.layers.transfer import bring, plan

        bring(self._store, plan(self._store, image.manifest, image.config, user_namespace), user_namespace)

    def ingest_directory(self, diff_id: Digest) -> str:
        """A new name each time, for the tree that the holder of the claim has a worker make."""
        return f"{self._store.ingest}/{self.work(diff_id)}.{os.urandom(6).hex()}{_UNPACKING}"

    def work(self, diff_id: Digest) -> str:
        """The name of the claim that whoever unpacks the layer holds."""
        return f"layer-{self._families[0]}-{diff_id.hex}"

    def commit(self, diff_id: Digest, directory: str, *, size: int, entries: int) -> None:
        """Give a tree that is unpacked, checked and written back its place. `size` is of the uncompressed archive."""
        target = f"{self._parent(self._families[0])}/{diff_id.hex}"
        record = {"diff_id": str(diff_id), "size": size, "entries": entries, **self._maps}
        durable.write(f"{directory}/{_RECORD}", dump(record))
        try:
            if os.path.lexists(target):
                durable.move_to_trash(
                    target, self._store.trash
                )  # without its record, or unpacked with ids that are no longer mapped
            os.rename(directory, target)
            durable.sync_directory(os.path.dirname(target))
        except OSError as error:
            raise StoreError(f"keep layer {diff_id}: {error.strerror}") from error

    def all(self) -> list[Digest]:
        """Every layer here, complete or not."""
        found = {}
        for family in self._families:
            for name in self._names(family):
                found[name] = Digest("sha256", name)
        return list(found.values())

    def path(self, diff_id: Digest) -> str | None:
        """The directory of a complete layer; None where there is none."""
        return self._find(diff_id)

    def damaged(self) -> Iterator[tuple[str, str, str]]:
        """(family, hexadecimal diff id, problem) of every layer here; the problem is empty where its record and its tree are there."""
        for family in self._families:
            for name in self._names(family):
                yield family, name, _problem(f"{self._store.layers}/{family}/{name}", name)

    def take_apart(self, family: str, name: str) -> None:
        """Let a damaged layer count as missing, so that it is unpacked again; what stands on its tree keeps it until then."""
        durable.remove_tree(f"{self._parent(family)}/{name}/{_RECORD}")

    def discard_one(self, family: str, name: str) -> None:
        """Put one form of a layer into the trash."""
        with suppress(FileNotFoundError):
            durable.move_to_trash(f"{self._parent(family)}/{name}", self._store.trash)

    def discard(self, diff_id: Digest) -> None:
        """Put a layer into the trash; `empty_trash` frees the space."""
        for family in self._families:
            path = f"{self._store.layers}/{family}/{diff_id.hex}"
            if os.path.lexists(path):
                durable.move_to_trash(path, self._store.trash)

    def sweep(self) -> None:
        """Put trees into the trash that a killed process left half unpacked."""
        for name in os.listdir(self._store.ingest):
            if name.endswith(_UNPACKING) and not leases.is_claimed(self._store, name.partition(".")[0]):
                durable.move_to_trash(f"{self._store.ingest}/{name}", self._store.trash)

    def _names(self, family: str) -> list[str]:
        """Of layers in one family; on a full disk its directory may be missing, and cannot be made."""
        try:
            return sorted(os.listdir(f"{self._store.layers}/{family}"))
        except FileNotFoundError:
            return []

    def _parent(self, family: str) -> str:
        path = f"{self._store.layers}/{family}"
        make_directory(path)
        return path

    def _find(self, diff_id: Digest) -> str | None:
        for family in self._families:
            path = f"{self._store.layers}/{family}/{diff_id.hex}"
            if os.path.exists(f"{path}/{_RECORD}") and (not self._maps or self._is_mapped(path)):
                return path
        return None

    def _is_mapped(self, path: str) -> bool:
        """Whether the owners in a tree still mean the same ids: ranges that were added since change nothing."""
        record = _read(path)
        return all(_extends(now, record.get(key, [])) for key, now in self._maps.items())

    def _tree(self, diff_id: Digest) -> str:
        path = self._find(diff_id)
        if path is None:
            raise StoreError(f"find layer {diff_id}: it is not unpacked here", hint="pull the image again")
        return f"{path}/fs"


def _read(path: str) -> dict[str, Any]:
    with open(f"{path}/{_RECORD}", "rb") as file:
        return parse(file.read(), f"{path}/{_RECORD}")


def _problem(path: str, name: str) -> str:
    try:
        record = _read(path)
    except FileNotFoundError:
        return "it has no record: it was not unpacked to the end"
    except (OSError, CrateError) as error:
        return f"its record is damaged: {error}"
    size, entries = record.get("size"), record.get("entries")
    if record.get("diff_id") != f"sha256:{name}" or not isinstance(size, int) or not isinstance(entries, int):
        return "its record is of another layer"
    return "" if os.path.isdir(f"{path}/fs") and not os.path.islink(f"{path}/fs") else "its tree is missing"


def _extends(now: tuple[tuple[int, int, int], ...], then: object) -> bool:
    """Both are maps of (container id, host id, count). A longer line shifts those behind it, which then differ."""
    if not isinstance(then, list) or len(then) > len(now):
        return False
    return all(list(line[:2]) == old[:2] and line[2] >= old[2] for line, old in zip(now, then, strict=False))


def empty_trash(store: Store, user_namespace: UserNamespace | None = None) -> None:
    """Remove what is in the trash, inside the user namespace where the trees have other owners.

    Raises StoreError when something cannot be removed, as when it is mounted over; all the rest is gone then.
    """
    if os.listdir(store.trash):
        userns.run(user_namespace or userns.choose(), remove_trash, store.trash)


def remove_trash(directory: str) -> None:
    """`empty_trash` in a process that is in the right namespace already."""
    failures = []
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise StoreError(f"empty {directory}: {error.strerror}") from error
    for name in names:
        try:
            durable.remove_tree(f"{directory}/{name}")
        except StoreError as error:
            failures.append(error)
    if failures:
        raise failures[0]
