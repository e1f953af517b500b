"""The part of the public API that is about the store as a whole: check, repair, df, prune. Engine has these methods."""

from __future__ import annotations

from contextlib import suppress

from crate_engine.errors import ContainerNotFound, ContainerRunning
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from crate_engine.container import Container
    from crate_engine.image_prune import Pruned
    from crate_engine.registry.access import Access
    from crate_engine.store.containers import ContainerStore, Record
    from crate_engine.store.listing import Listed
    from crate_engine.store.paths import Store
    from crate_engine.upkeep.finding import Report
    from crate_engine.upkeep.repair import Outcome
    from crate_engine.upkeep.usage import Usage


@dataclass(frozen=True, slots=True)
class SystemPruned:
    """`containers` are ids, `images` docker's lines, `reclaimed` bytes."""

    containers: tuple[str, ...]
    images: tuple[str, ...]
    reclaimed: int


class UpkeepCalls:
    """What Engine gives them."""

    store: Store
    _containers: ContainerStore
    if TYPE_CHECKING:

        def access(self) -> Access: ...
        def remove(self, name: str, *, force: bool = False) -> None: ...
        def containers(self, *, all: bool = False) -> list[Container]: ...
        def prune_images(self, *, all: bool = False, keep: Callable[[Listed], bool] | None = None) -> Pruned: ...

    def check(self, *, full: bool = False) -> Report:
        """What is wrong with the store, and what killed commands left; `full` reads every blob and unpacks every layer a second time.

        Changes nothing. Raises StoreError where the store cannot be read at all.
        """
        from crate_engine.system import userns
        from crate_engine.upkeep import repair

        return repair.check(self.store, userns.choose(), full=full)

    def repair(self, *, full: bool = False) -> Outcome:
        """Repair what `check` finds, from the registries where need be, and remove what killed commands left."""
        from crate_engine.system import userns
        from crate_engine.upkeep import repair

        return repair.repair(self.store, userns.choose(), self.access(), full=full)

    def usage(self) -> Usage:
        """How much room images and containers take. Raises StoreError."""
        from crate_engine.system import userns
        from crate_engine.upkeep import usage

        return usage.of(self.store, userns.choose(), self._containers.all())

    def prune(
        self,
        *,
        all: bool = False,
        keep_container: Callable[[Record], bool] | None = None,
        keep_image: Callable[[Listed], bool] | None = None,
    ) -> SystemPruned:
        """Remove containers that do not run, images without a name (with `all`: that no container uses), and what killed commands left.

        `keep_container` and `keep_image` are asked about each that would go. Raises StoreError.
        """
        from crate_engine.system import userns
        from crate_engine.upkeep import usage
        from crate_engine.upkeep.collect import collect

        namespace = userns.choose()
        removed, freed = [], 0
        ended = {container.id for container in self.containers(all=True) if container.status in ("created", "exited")}
        for record in self._containers.all():
            if record.id not in ended or (keep_container and keep_container(record)):
                continue
            size = usage.written(self.store, namespace, record)
            with suppress(ContainerNotFound, ContainerRunning):  # another command removed or started it
                self.remove(record.id)
                removed.append(record.id)
                freed += size
        pruned = self.prune_images(all=all, keep=keep_image)
        freed += pruned.reclaimed + collect(self.store, namespace)
        return SystemPruned(tuple(removed), pruned.lines, freed)
