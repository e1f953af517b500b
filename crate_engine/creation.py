"""Making a container from an image and options: everything is decided and checked here, and nothing runs yet.

Order: check all that a caller can get wrong, then reserve id and name, then the files, then the record.
"""

from __future__ import annotations

import os
import time

from crate_engine.bundle import spec
from crate_engine.bundle.defaults import STOP_SIGNAL
from crate_engine.errors import StoreError, UsageError
from crate_engine.layers import snapshot
from crate_engine.layers.store import LayerStore
from crate_engine.network import files, plan
from crate_engine.reference import Reference
from crate_engine.runtime.client import find as find_runtime
from crate_engine.store.containers import ContainerStore, Record
from crate_engine.system import userns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from crate_engine.options import RunOptions
    from crate_engine.store.images import Image
    from crate_engine.store.paths import Store
    from crate_engine.system.userns import UserNamespace


def create(store: Store, image: Image, options: RunOptions, *, runtime: str, network: str, caller: Mapping[str, str]) -> Record:
    """`network` is the mode for options that name none; `caller` the environment for `-e NAME`. Raises CrateError; then nothing is left."""
    network_plan = plan.make(options.network or network, options.ports)
    spec.command(image.config, options)
    spec.environment(image.config.env, options.environment, (), caller)
    spec.working_directory(image.config, options)
    user = spec.user_text(image.config, options)
    volumes = spec.volumes(options)
    if options.hostname is not None:
        files.check_hostname(options.hostname)
    find_runtime(runtime, store.runtime_root)
    namespace = userns.choose()
    layers = _layers(store, image, namespace)
    containers = ContainerStore(store)
    with containers.new(options.name) as (identity, name):
        for volume in volumes:
            _make_source(volume.source)
        directory = containers.directory(identity)
        hostname = options.hostname or (os.uname().nodename if network_plan.mode == "host" else identity[:12])
        place = spec.Place(id=identity, directory=directory, mode=namespace.mode, network=network_plan.mode, hostname=hostname)
        config = spec.make(image.config, options, place, caller)
        chosen = snapshot.choose(directory, layers, rootless=namespace.mode != "root")
        snapshot.prepare(directory, chosen)
        if chosen["kind"] == snapshot.COPY:
            userns.run(namespace, snapshot.fill, chosen, f"{directory}/rootfs")
        record = Record(
            id=identity,
            name=name,
            created=time.time_ns(),
            image=_familiar(options.image),
            image_id=image.id,
            options=options,
            runtime=runtime,
            snapshot=chosen,
            network=network_plan.mode,
            ports=tuple((port.container_port, port.host_port, port.protocol, port.host_ip) for port in network_plan.ports),
            command=spec.command(image.config, options),
            hostname=hostname,
            user=user,
            stop_signal=image.config.stop_signal or STOP_SIGNAL,
            config=config,
        )
        containers.write(record, durably=not options.remove)
    return record


def _layers(store: Store, image: Image, namespace: UserNamespace) -> list[str]:
    layers = LayerStore(store, namespace)
    if layers.missing(image.config.diff_ids):
        layers.ensure(image, namespace)
    directories = layers.directories(image)
    if not directories:
        raise StoreError(f"create a container of {image.id[:12]}: the image has no layers")
    return directories


def _make_source(path: str) -> None:
    """A host directory that is not there is made, as docker does; it belongs to the caller."""
    if os.path.lexists(path):
        return
    try:
        os.makedirs(path, 0o755, exist_ok=True)
    except OSError as error:
        raise UsageError(f"volume {path}: no such file or directory, and it cannot be made: {error.strerror}") from error


def _familiar(name: str) -> str:
    """As docker shows the image: the name it was asked for by, or the beginning of an id."""
    text = name.removeprefix("sha256:")
    if len(text) == 64 and all(character in "0123456789abcdef" for character in text):
        return text[:12]
    reference = Reference.parse(name)
    return reference.familiar_name if reference.tag == "latest" and not reference.digest else reference.familiar
