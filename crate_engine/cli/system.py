"""The commands about everything and about crate itself: inspect, info, version, completion."""

from __future__ import annotations

import os
import sys

from crate_engine.cli.render import display, json_safe
from crate_engine.cli.session import report
from crate_engine.errors import ContainerNotFound, CrateError, ImageNotFound, NetworkError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_engine.cli.session import Session
    from crate_engine.engine import Engine

BAD_TEMPLATE = 64
"""The exit status that docker has for it."""


def inspect(session: Session, *, names: tuple[str, ...], type: str | None, format: str | None) -> int:
    """A JSON array of what was found, even of nothing; a name without an object is said on standard error, in docker's words."""
    return _inspect(session, names, type, format)


def inspect_images(session: Session, *, images: tuple[str, ...], format: str | None) -> int:
    return _inspect(session, images, "image", format)


def _inspect(session: Session, names: tuple[str, ...], kind: str | None, form: str | None) -> int:
    show = _whole if form in (None, "", "json") else _templated(form)
    if show is None:
        return BAD_TEMPLATE
    found: list[dict[str, Any]] = []
    missing: list[str] = []
    status = 0
    with session.engine() as engine:
        for name in names:
            try:
                found.append(_inspected(engine, name, kind))
            except (ContainerNotFound, ImageNotFound):
                missing.append(f"Error: No such {kind or 'object'}: {display(name)}\n")
            except CrateError as error:
                status = report(str(error), error.hint, session.failure)
    sys.stdout.write(show(found, form))
    sys.stdout.flush()
    sys.stderr.write("".join(missing))
    return session.failure if missing else status


def _whole(found: list[dict[str, Any]], form: str | None) -> str:
    """For people indented; `json` asks for one line."""
    import json

    style: dict[str, Any] = {"separators": (",", ":")} if form == "json" else {"indent": 4}
    return json_safe(json.dumps(found, ensure_ascii=False, **style)) + "\n"


def _templated(text: str | None) -> Callable[[list[dict[str, Any]], str | None], str] | None:
    """None, once the error is reported, where the text is no template."""
    from crate_engine.cli.documents import with_maps
    from crate_engine.cli.template import Template, TemplateError

    try:
        template = Template(text or "")
    except TemplateError as error:
        report(str(error), error.hint, BAD_TEMPLATE)
        return None
    return lambda found, _form: "".join(f"{template.render(with_maps(document))}\n" for document in found)


def _inspected(engine: Engine, name: str, kind: str | None) -> dict[str, Any]:
    if kind != "image":
        try:
            return engine.inspect(name)
        except ContainerNotFound:
            if kind == "container":
                raise
    return engine.inspect_image(name)


def info(session: Session) -> int:
    with session.engine() as engine:
        containers = engine.containers(all=True)
        images = engine.images()
        running = sum(container.status == "running" for container in containers)
        facts = [
            ("Containers", f"{len(containers)} ({running} running)"),
            ("Images", str(len(images))),
            ("Data root", engine.store.root),
            ("Run root", engine.store.runroot),
            ("Runtime", _runtime(session)),
            ("User namespace", _user_namespace()),
            ("Private network", _private_network()),
            ("Kernel", f"{os.uname().release} ({os.uname().machine})"),
        ]
    for name, value in facts:
        print(f"{name + ':':<17}{display(value)}")
    return 0


def version(session: Session) -> int:
    from crate_engine import __version__

    lines = (
        ("crate", __version__),
        ("Python", f"{sys.version.partition(' ')[0]} ({sys.executable})"),
        ("Runtime", _runtime(session)),
        ("Kernel", f"{os.uname().release} ({os.uname().machine})"),
    )
    for name, value in lines:
        print(f"{name + ':':<10}{display(value)}")
    return 0


def completion(session: Session, *, shell: str) -> int:
    from crate_engine.cli.system_commands import SHELLS

    if shell not in SHELLS:
        raise UsageError(f'completion: "{shell}" is not one of {", ".join(SHELLS)}')
    from crate_engine.cli.app import completion_script

    return completion_script(shell)


def _runtime(session: Session) -> str:
    """The low-level runtime with the first line of its `--version`; what is wrong with it is an answer too."""
    import subprocess

    from crate_engine.errors import HostError
    from crate_engine.runtime.client import find

    name = session.flag("runtime") or session.settings.runtime
    try:
        runtime = find(name, "")
    except HostError as error:
        return str(error)
    program = [*runtime.program, "--version"]
    try:
        said = subprocess.run(
            program, stdin=subprocess.DEVNULL, capture_output=True, timeout=10, check=False, text=True, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name}: {error}"
    return f"{said.stdout.partition(chr(10))[0] or name} ({runtime.program[-1]})"


def _user_namespace() -> str:
    from crate_engine.system.userns import choose

    chosen = choose()
    ids = sum(count for _container, _host, count in chosen.uid_map)
    texts = {"root": "none: crate runs as root", "range": f"{ids} ids", "single": f"the own id alone: {chosen.reason}"}
    return texts[chosen.mode]


def _private_network() -> str:
    from crate_engine.network.pasta import find

    try:
        return find()
    except NetworkError as error:
        return f"not available: {error} ({error.hint})"
