"""Making an image from a container (`docker commit`): its image's configuration and layers, and what it changed as one more layer.

The options that the container was made with become the image's own, as docker has it; then come the changes that were asked for.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from crate_engine import building, root_files
from crate_engine.errors import CrateError
from crate_engine.layers.compress import GZIP
from crate_engine.oci import changes as instructions
from crate_engine.oci.strict_json import parse
from crate_engine.runtime.client import failure, run_quietly
from crate_engine.runtime.client import find as find_runtime
from crate_engine.store.containers import ContainerStore
from crate_engine.store.images import ImageStore
from crate_engine.store.new_blob import NewBlob
from crate_engine.system import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from crate_engine.store.containers import Record
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


def commit(
    store: Store,
    record: Record,
    name: str | None,
    *,
    message: str = "",
    author: str = "",
    changes: Sequence[str] = (),
    pause: bool = True,
    user_namespace: UserNamespace,
    warn: Callable[[str], None],
) -> Image:
    """With `pause` the container stands still while its files are read; where that cannot be, `warn` is told. Raises CrateError."""
    reference = building.new_name(name)
    images, containers = ImageStore(store), ContainerStore(store)
    base = images.find(f"sha256:{record.image_id}")
    document = parse(images.blobs.read(base.manifest.config.digest), f"configuration of {base.id[:12]}")
    config = dict(document.get("config") or {})
    take_over(config, record)
    instructions.apply(config, changes)
    with NewBlob(store) as blob:
        with (
            containers.lock(record.id),
            _paused(store, record, warn) if pause else _running(),
            root_files.changes(store, record, user_namespace=user_namespace) as archive,
        ):
            layer = building.write_layer(blob, archive, GZIP)
        created = building.now()
        step = {"created": created, "created_by": " ".join(record.command), "author": author, "comment": message}
        document |= {"created": created, "config": config} | ({"author": author} if author else {})
        document["rootfs"] = {"type": "layers", "diff_ids": [*map(str, base.config.diff_ids), str(layer.diff_id)]}
        document["history"] = [*(document.get("history") or []), {key: text for key, text in step.items() if text}]
        layers = [*base.manifest.layers, layer.descriptor]
        what = f"commit container {record.name}"
        return building.keep(store, document, layers, reference, [blob], user_namespace=user_namespace, what=what)


def take_over(config: dict[str, Any], record: Record) -> None:
    """What `create` was told, in the image configuration's terms."""
    options = record.options
    if options.entrypoint is not None:
        config["Entrypoint"] = [options.entrypoint] if options.entrypoint else None
        config["Cmd"] = list(options.command) or None
    elif options.command:
        config["Cmd"] = list(options.command)
    values = dict(entry.partition("=")[::2] for entry in record.config["process"]["env"])
    for entry in options.environment:
        variable = entry.partition("=")[0]
        if variable in values:
            instructions.set_environment(config, variable, values[variable])
    if options.user is not None:
        config["User"] = options.user
    if options.workdir:
        config["WorkingDir"] = options.workdir
    for port, _, protocol, _ in record.ports:
        instructions.add_key(config, "ExposedPorts", f"{port}/{protocol}")


@contextmanager
def _running() -> Iterator[None]:
    yield


@contextmanager
def _paused(store: Store, record: Record, warn: Callable[[str], None]) -> Iterator[None]:
    """A running container stands still inside. A process that is killed here leaves it so: `kill`, `rm -f` and `resume` of the runtime still work."""
    condition = ContainerStore(store).condition(record.id)
    paused = False
    if condition.status == "running":
        try:
            _pause(store, record, condition.pid)
            paused = True
        except (CrateError, OSError) as error:
            warn(f"container {record.name} goes on while it is committed: it cannot be paused: {error}")
    try:
        yield
    finally:
        if paused:
            runtime = find_runtime(record.runtime, store.runtime_root)
            userns.run_joined(condition.pid, run_quietly, runtime, runtime.resume(record.id))


def _pause(store: Store, record: Record, pid: int) -> None:
    runtime = find_runtime(record.runtime, store.runtime_root)
    log = f"{ContainerStore(store).run_directory(record.id)}/pause.log"
    try:
        status = userns.run_joined(pid, run_quietly, runtime, runtime.pause(record.id, log=log))
        if status:
            assert isinstance(status, int)
            raise failure(runtime, status, log, b"")
    finally:
        with suppress(OSError):
            os.unlink(log)
