"""The public API: images and containers of one store. Every method is a use case in a few verbs; the command line calls nothing else.

    with Engine() as engine:
        engine.pull("alpine")
        status = engine.run(RunOptions(image="alpine", command=("echo", "hello")), attach=True)

Nothing here prints. Methods raise CrateError; `warn` is called with what the caller should know and need not act on. The process must have
no other threads while a method runs: several fork.
"""

from __future__ import annotations

import os

from crate_engine.container import Container, view
from crate_engine.errors import ContainerNotFound, ContainerNotRunning, ContainerRunning, ImageNotFound, UsageError
from crate_engine.exchange_calls import ExchangeCalls
from crate_engine.settings import Settings
from crate_engine.store.containers import ContainerStore, Record
from crate_engine.store.images import Image, ImageStore
from crate_engine.store.locks import lock
from crate_engine.store.paths import Store
from crate_engine.upkeep_calls import UpkeepCalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from crate_engine.attach import Attachment
    from crate_engine.logs import LogLine
    from crate_engine.options import ExecOptions, RunOptions
    from crate_engine.store.containers import Condition


class Engine(ExchangeCalls, UpkeepCalls):
    """One store and one way to run containers. Flags win over `settings`; without those crate's defaults hold, not the host's files."""

    def __init__(
        self,
        root: str | None = None,
        runroot: str | None = None,
        runtime: str | None = None,
        settings: Settings | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.runtime = runtime or self.settings.runtime
        self.store = Store.open(root or self.settings.root, runroot or self.settings.runroot)
        self._containers = ContainerStore(self.store)
        self._warn = warn or _log_warning

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        from crate_engine.monitor import launch

        launch.drop_prepared()
        launch.collect()

    # Containers

    def create(self, options: RunOptions) -> Container:
        """Make a container without starting it; its image is pulled when `options.pull` says so."""
        return view(record := self._create(options), self._containers.condition(record.id))

    def start(self, name: str, *, attach: bool = False) -> int | None:
        """Returns when the container's process runs, or, attached, its exit status. A running one is no error unless it was to be attached."""
        record = self._containers.find(name)
        with self._containers.lock(record.id):
            if not attach and self._containers.condition(record.id).status == "running":
                return None
            attachment = self._start(record, attach=attach)
        if not attach:
            attachment.close()
            return None
        return attachment.join(terminal=record.options.tty, interactive=record.options.interactive)

    def run(self, options: RunOptions, *, attach: bool) -> int:
        """Create and start. Attached, the caller's standard streams are the container's until it ends, and its exit status is returned."""
        record = self._create(options)
        try:
            with self._containers.lock(record.id):
                attachment = self._start(record, attach=attach)
        except BaseException:
            if options.remove:
                self._discard(record)
            raise
        if not attach:
            attachment.close()
            return 0
        return attachment.join(terminal=options.tty, interactive=options.interactive)

    def attach(self, name: str) -> int:
        """Join the caller's standard streams to a running container's until it ends; returns its exit status."""
        from crate_engine import attach

        record, condition = self._running(name, "attach to")
        attachment = attach.connect(self._containers.run_directory(record.id))
        if attachment is None:
            raise ContainerNotRunning(f"attach to container {record.name}: its monitor was killed")
        attachment.subscribe()
        return attachment.join(terminal=record.options.tty, interactive=record.options.interactive, pid=condition.pid)

    def stop(self, name: str, *, timeout: int | None = None) -> None:
        """The image's stop signal, after `timeout` seconds (the settings' by default) SIGKILL. One that does not run is no error."""
        from crate_engine import stopping

        record = self._containers.find(name)
        seconds = self.settings.stop_timeout if timeout is None else timeout
        stopping.stop(self.store, record, record.stop_signal, seconds)

    def kill(self, name: str, signal: str) -> None:
        """Send a signal, by name or number, to the container's process. Raises ContainerNotRunning."""
        from crate_engine import stopping
        from crate_engine.starting import kill

        number = stopping.signal_number(signal)
        record, condition = self._running(name, "kill")
        if not kill(condition.pid, condition.start_time, number):
            raise ContainerNotRunning(f"kill container {record.name}: it has ended")

    def remove(self, name: str, *, force: bool = False) -> None:
        """Raises ContainerRunning unless `force`, which kills it first."""
        from crate_engine import stopping

        record = self._containers.find(name)
        condition = self._containers.condition(record.id)
        if condition.status in ("running", "starting"):
            if not force:
                hint = f"crate stop {record.name}, or crate rm -f"
                raise ContainerRunning(f"remove container {record.name}: it is {condition.status}", hint=hint)
            stopping.stop(self.store, record, "SIGKILL", None)
        self._discard(record)

    def containers(self, *, all: bool = False) -> list[Container]:
        """The running ones, or all; newest first."""
        found = [view(record, self._settled(record)) for record in self._containers.all()]
        shown = ("created", "starting", "running", "stopping", "exited") if all else ("starting", "running")
        return [container for container in found if container.status in shown]

    def container(self, name: str) -> Container:
        """By name, id, or the beginning of one id only. Raises ContainerNotFound or AmbiguousName."""
        record = self._containers.find(name)
        return view(record, self._existing(record))

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None, timestamps: bool = False) -> Iterator[LogLine]:
        """What the container wrote, `tail` being how many of the last lines; `follow` goes on until it has ended.

        Every line has its time; `timestamps` is for callers that print.
        """
        from crate_engine import logs, waiting

        record = self._containers.find(name)
        path = f"{self._containers.directory(record.id)}/container.log"
        return logs.read(path, tail=tail, follow=(lambda: waiting.monitor_pidfd(self.store, record)) if follow else None)

    def exec(self, name: str, options: ExecOptions) -> int:
        """Run a second program in a running container; returns its exit status, or 0 at once when detached."""
        from crate_engine import execution

        record, condition = self._running(name, "exec in")
        return execution.execute(self.store, record, condition, options, caller=os.environ)

    def wait(self, name: str) -> int:
        """The exit status, when the container has ended; of one that has ended, at once. Raises ContainerNotRunning where it is lost."""
        from crate_engine import stopping

        return stopping.wait(self.store, self._containers.find(name))

    def inspect(self, name: str) -> dict[str, Any]:
        """What docker's `inspect` shows of a container, under the same names."""
        from crate_engine import inspection

        record = self._containers.find(name)
        return inspection.document(self._containers, record, self._existing(record))

    def _create(self, options: RunOptions) -> Record:
        from crate_engine import creation

        # Held until the record exists: an image is removed only while no container is being made from it.
        image = self._image_for(options)
        with lock(self.store, "image", shared=True):
            ImageStore(self.store).find(f"sha256:{image.id}")
            return creation.create(
                self.store,
                image,
                options,
                runtime=self.runtime,
                network=self.settings.network,
                caller=os.environ,
            )

    def _image_for(self, options: RunOptions) -> Image:
        if options.pull not in ("always", "missing", "never", "newer"):
            raise UsageError(f"pull policy {options.pull}: must be always, missing, newer or never")
        if options.pull in ("missing", "never"):
            try:
                return self._local_image(options)
            except ImageNotFound:
                if options.pull == "never":
                    raise
        policy = "newer" if options.pull == "newer" else "always"
        return self.pull(options.image, platform=options.platform or self.settings.platform, policy=policy)

    def _local_image(self, options: RunOptions) -> Image:
        image = self.image(options.image)
        if options.platform:
            from crate_engine.oci.platform import Platform

            if Platform.parse(options.platform).distance(image.platform) is None:
                raise ImageNotFound(
                    f"find image {options.image}: the one here is for {image.platform}, not for {options.platform}",
                    hint=f"crate pull --platform {options.platform} {options.image}",
                )
        return image

    def _start(self, record: Record, *, attach: bool) -> Attachment:
        from crate_engine import starting

        return starting.start(self.store, record, attach=attach, dns=self.settings.dns, warn=self._warn)

    def _running(self, name: str, action: str) -> tuple[Record, Condition]:
        record = self._containers.find(name)
        condition = self._containers.condition(record.id)
        if condition.status != "running":
            raise ContainerNotRunning(
                f"{action} container {record.name}: container not running", hint=f"crate start {record.name}"
            )
        return record, condition

    def _settled(self, record: Record) -> Condition:
        """Its condition, after cleaning up what a killed monitor left of a container that has ended."""
        condition = self._containers.condition(record.id)
        if condition.stale and condition.status != "running":
            from crate_engine import stopping

            return stopping.settle(self.store, record)
        return condition

    def _existing(self, record: Record) -> Condition:
        condition = self._settled(record)
        if condition.status == "removed":
            raise ContainerNotFound(f"container {record.name}: no such container")
        return condition

    def _discard(self, record: Record) -> None:
        from crate_engine import stopping

        stopping.discard(self.store, record)


def _log_warning(text: str) -> None:
    import logging

    logging.getLogger("crate").warning(text)
