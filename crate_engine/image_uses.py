"""What keeps an image from being removed: the containers that were made from it, and places where it is mounted."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.store.containers import ContainerStore
    from crate_engine.store.paths import Store

_SHOWN = 12


def of(store: Store, containers: ContainerStore) -> dict[str, str]:
    """By the image's id: `running container 0123456789ab`, `stopped container …`, or `mounted at …`; a running container is told first."""
    from crate_engine import image_mounts

    uses = {image_id: f"mounted at {path}" for image_id, path in image_mounts.all(store).items()}
    for record in containers.all():
        running = containers.condition(record.id).status in ("starting", "running")
        if running or "container" not in uses.get(record.image_id, ""):
            uses[record.image_id] = f"{'running' if running else 'stopped'} container {record.id[:_SHOWN]}"
    return uses
