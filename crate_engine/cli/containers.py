"""The commands about containers: flags into RunOptions and ExecOptions, what the engine answers into docker's lines."""

from __future__ import annotations

import sys
import time as clock

from crate_engine.cli import render
from crate_engine.errors import ContainerNotFound, ContainerRunning, CrateError, ImageNotFound, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from crate_engine.cli.session import Session
    from crate_engine.container import Container
    from crate_engine.engine import Engine
    from crate_engine.options import RunOptions

    T = TypeVar("T")


def run(session: Session, *, detach: bool, quiet: bool, **flags: Any) -> int:
    options = _run_options(session, **flags)
    with session.engine() as engine:
        if not detach:
            return _with_image(engine, options, quiet, lambda ready: engine.run(ready, attach=True))
        container = _with_image(engine, options, quiet, engine.create)
        try:
            engine.start(container.id)
        except CrateError:
            if options.remove:
                engine.remove(container.id, force=True)
            raise
        print(container.id)
    return 0


def create(session: Session, *, quiet: bool, **flags: Any) -> int:
    options = _run_options(session, **flags)
    with session.engine() as engine:
        print(_with_image(engine, options, quiet, engine.create).id)
    return 0


def start(session: Session, *, containers: tuple[str, ...], attach: bool) -> int:
    if attach and len(containers) > 1:
        raise UsageError("start: one container at a time can be attached to", hint="leave out --attach to start several")
    with session.engine() as engine:
        if not attach:
            return session.each(containers, engine.start)
        try:
            return engine.start(containers[0], attach=True) or 0
        except ContainerRunning:
            return engine.attach(containers[0])


def exec(session: Session, *, container: str, command: tuple[str, ...], env: tuple[str, ...], **flags: Any) -> int:
    from crate_engine.options import ExecOptions

    with session.engine() as engine:
        return engine.exec(container, ExecOptions(command=command, environment=env, **flags))


def ps(session: Session, *, all: bool, quiet: bool, no_trunc: bool, format: str | None) -> int:
    with session.engine() as engine:
        containers = engine.containers(all=all)
    if format not in (None, "", "table"):
        from crate_engine.cli.container_rows import shown

        sys.stdout.write(shown(containers, clock.time(), str(format), whole=no_trunc))
        return 0
    if quiet:
        for container in containers:
            print(container.id if no_trunc else render.short_id(container.id))
        return 0
    now = clock.time()
    rows = [_row(container, now, whole=no_trunc) for container in containers]
    header = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
    sys.stdout.write(render.table(header, rows))
    return 0


def stop(session: Session, *, containers: tuple[str, ...], time: int | None) -> int:
    with session.engine() as engine:
        return session.each(containers, lambda name: engine.stop(name, timeout=time))


def kill(session: Session, *, containers: tuple[str, ...], signal: str) -> int:
    with session.engine() as engine:
        return session.each(containers, lambda name: engine.kill(name, signal))


def rm(session: Session, *, containers: tuple[str, ...], force: bool) -> int:
    with session.engine() as engine:
        absent = ContainerNotFound if force else None
        return session.each(containers, lambda name: engine.remove(name, force=force), absent=absent)


def logs(session: Session, *, container: str, follow: bool, tail: str, timestamps: bool) -> int:
    streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
    last = sys.stdout.buffer
    with session.engine() as engine:
        for line in engine.logs(container, follow=follow, tail=_line_count(tail), timestamps=timestamps):
            stream = streams[line.stream]
            if stream is not last:  # keeps the order where both go to one terminal
                last.flush()
                last = stream
            stream.write(f"{line.time} ".encode() + line.data if timestamps else line.data)
            if follow:
                stream.flush()
        last.flush()
    return 0


def _with_image(engine: Engine, options: RunOptions, quiet: bool, act: Callable[[RunOptions], T]) -> T:
    """Act once the image is there. Mostly it is, and then asking first would be for nothing."""
    from crate_engine.values import replace

    ready = replace(options, pull="never")
    if options.pull == "never" or (options.pull == "missing" and options.platform is None):
        try:
            return act(ready)
        except ImageNotFound:
            if options.pull == "never":
                raise
            if not quiet:
                from crate_engine.reference import Reference

                sys.stderr.write(f"Unable to find image '{Reference.parse(options.image).familiar}' locally\n")
    from crate_engine.cli.progress import follow

    with follow(sys.stderr, quiet=quiet) as progress:
        engine.pull(options.image, platform=options.platform, policy=options.pull, progress=progress)
    return act(ready)


def _run_options(
    session: Session,
    *,
    image: str,
    publish: tuple[str, ...],
    env: tuple[str, ...],
    volume: tuple[str, ...],
    rm: bool,
    pull: str | None,
    platform: str | None,
    name: str | None,
    user: str | None,
    workdir: str | None,
    hostname: str | None,
    **same: Any,
) -> RunOptions:
    """The flags that are in `same` have the same name in RunOptions. An empty text counts as not given, but for `--entrypoint`."""
    from crate_engine.options import RunOptions

    return RunOptions(
        image=image,
        ports=publish,
        environment=env,
        volumes=volume,
        remove=rm,
        pull=pull or session.settings.pull,
        platform=platform or session.settings.platform,
        name=name or None,
        user=user or None,
        workdir=workdir or None,
        hostname=hostname or None,
        **same,
    )


def _line_count(text: str) -> int | None:
    """Docker's `--tail`: `all`, or a number of which a negative one also means all."""
    if text == "all":
        return None
    try:
        count = int(text)
    except ValueError:
        raise UsageError(f'logs: --tail: "{text}" is neither a number nor all') from None
    return count if count >= 0 else None


def _row(container: Container, now: float, *, whole: bool) -> tuple[str, ...]:
    since = container.finished if container.status == "exited" else container.started
    return (
        container.id if whole else render.short_id(container.id),
        container.image,
        render.quoted_command(container.command, whole=whole),
        f"{render.age(now - render.epoch(container.created))} ago",
        render.status(container.status, exit_code=container.exit_code, since=now - render.epoch(since) if since else 0),
        ", ".join(container.ports),
        container.name,
    )
