"""pause and resume: stop and continue all processes of a container (runc's command line; runtime-spec does not know them)."""

from __future__ import annotations

from crate_runc.cgroup import freezer
from crate_runc.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.state.store import StateStore


def pause(store: StateStore, container_id: str) -> None:
    """A created container can be paused as well. Raises StateError where it does not run or is paused already."""
    with store.open(container_id) as entry:
        state = entry.load()
        if entry.status(state) not in ("created", "running"):
            raise StateError("container not running")
        freezer.freeze(state.cgroup_paths)


def resume(store: StateStore, container_id: str) -> None:
    with store.open(container_id) as entry:
        state = entry.load()
        if entry.status(state) != "paused":
            raise StateError("container not paused")
        freezer.thaw(state.cgroup_paths)
