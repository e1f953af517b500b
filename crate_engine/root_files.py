"""A container's root as archives, read from its layers and its own directory: nothing has to be mounted, and the container may run.

What is mounted in a container (volumes, /proc, the engine's own files) is no part of its root.
"""

from __future__ import annotations

from crate_engine.layers import snapshot
from crate_engine.layers.packing import packed
from crate_engine.layers.tree import Tree
from crate_engine.store.containers import ContainerStore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from crate_engine.layers.tree import Member
    from crate_engine.store.containers import Record
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


def export(store: Store, record: Record, stream: BinaryIO, *, user_namespace: UserNamespace) -> None:
    """Write the whole root as a tar archive. Forks, so the calling process must have no threads. Raises CrateError, OSError of the stream."""
    directory = ContainerStore(store).directory(record.id)
    kind, lower = record.snapshot["kind"], record.snapshot["lower"]
    roots = [f"{directory}/rootfs"] if kind == snapshot.COPY else [f"{directory}/upper", *reversed(lower)]

    def walk() -> Iterator[Member]:
        return _tree(record, user_namespace).merged(roots)

    with packed(user_namespace, walk) as blocks:
        for block in blocks:
            stream.write(block)


def changes(store: Store, record: Record, *, user_namespace: UserNamespace) -> AbstractContextManager[Iterator[bytes]]:
    """What the container changed, as the archive of a layer; to be used like `packing.packed`."""
    directory = ContainerStore(store).directory(record.id)
    kind, lower = record.snapshot["kind"], record.snapshot["lower"]
    points = {entry["destination"].strip("/").encode() for entry in record.config["mounts"]}

    def walk() -> Iterator[Member]:
        tree = _tree(record, user_namespace)
        if kind == snapshot.COPY:
            return tree.differences(lower[::-1], f"{directory}/rootfs", left_out=points)
        return tree.changes(f"{directory}/upper", lower[-1], left_out=points)

    return packed(user_namespace, walk)


def _tree(record: Record, user_namespace: UserNamespace) -> Tree:
    return Tree(single=user_namespace.mode == "single", names=record.snapshot["kind"] == snapshot.FUSE)
