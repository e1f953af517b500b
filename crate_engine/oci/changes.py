"""Changes of an image's configuration as `--change` of docker's commit and import takes them: instructions of a Dockerfile (its reference).

Pure. They are applied to the configuration as it was read, so that fields unknown here are kept; what comes out is checked like any other.
Not here: ADD, COPY, RUN and other instructions that make files.
"""

from __future__ import annotations

import re
import shlex

from crate_engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_PAIR = re.compile(r"[^\s=]+=")
_PORT = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)


def apply(config: dict[str, Any], changes: Iterable[str]) -> None:
    """Change the object `config` of an image configuration in place. Raises UsageError."""
    for text in changes:
        name, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        act = _INSTRUCTIONS.get(name.upper())
        if act is None:
            raise UsageError(f"change {text[:80]!r}: {name[:32]!r} is not one of {', '.join(_INSTRUCTIONS)}")
        if not rest and name.upper() not in ("CMD", "ENTRYPOINT"):
            raise UsageError(f"change {text[:80]!r}: {name} needs a value")
        try:
            act(config, rest)
        except ValueError as error:
            raise UsageError(f"change {text[:80]!r}: {error}") from error


def _words(rest: str) -> list[str]:
    """The form of a JSON list, or a line for the shell."""
    if rest.startswith("["):
        import json

        try:
            words = json.loads(rest)
        except ValueError:
            words = None
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return ["/bin/sh", "-c", rest] if rest else []


def _command(config: dict[str, Any], rest: str) -> None:
    config["Cmd"] = _words(rest) or None


def _entrypoint(config: dict[str, Any], rest: str) -> None:
    config["Entrypoint"] = _words(rest) or None


def _pairs(rest: str) -> list[tuple[str, str]]:
    """`NAME=value NAME="a b"`, or in the old form `NAME the whole rest`."""
    if not _PAIR.match(rest):
        name, _, value = rest.partition(" ")
        if not value:
            raise ValueError("must be NAME=VALUE")
        return [(name, value.strip())]
    pairs = []
    for word in shlex.split(rest):
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise ValueError(f"{word!r} must be NAME=VALUE")
        pairs.append((name, value))
    return pairs


def set_environment(config: dict[str, Any], name: str, value: str) -> None:
    """In the place of an earlier value, else at the end."""
    entries: list[str] = list(config.get("Env") or [])
    known = [place for place, entry in enumerate(entries) if entry.partition("=")[0] == name]
    if known:
        entries[known[0]] = f"{name}={value}"
    else:
        entries.append(f"{name}={value}")
    config["Env"] = entries


def _environment(config: dict[str, Any], rest: str) -> None:
    for name, value in _pairs(rest):
        set_environment(config, name, value)


def _labels(config: dict[str, Any], rest: str) -> None:
    config["Labels"] = dict(config.get("Labels") or {}) | dict(_pairs(rest))


def _expose(config: dict[str, Any], rest: str) -> None:
    for port in rest.split():
        if not _PORT.fullmatch(port):
            raise ValueError(f"{port!r} is no port")
        add_key(config, "ExposedPorts", port.lower() if "/" in port else f"{port}/tcp")


def add_key(config: dict[str, Any], field: str, key: str) -> None:
    """To an object that is used as a set."""
    config[field] = dict(config.get(field) or {}) | {key: {}}


def _volumes(config: dict[str, Any], rest: str) -> None:
    for path in _list(rest):
        add_key(config, "Volumes", path)


def _list(rest: str) -> list[str]:
    return _words(rest) if rest.startswith("[") else rest.split()


def _working_directory(config: dict[str, Any], rest: str) -> None:
    """A relative one is below that which was set before."""
    before = config.get("WorkingDir") or "/"
    parts: list[str] = []
    for part in (rest if rest.startswith("/") else f"{before}/{rest}").split("/"):
        if part == "..":
            parts[-1:] = []
        elif part not in ("", "."):
            parts.append(part)
    config["WorkingDir"] = "/" + "/".join(parts)


def _user(config: dict[str, Any], rest: str) -> None:
    config["User"] = rest


def _stop_signal(config: dict[str, Any], rest: str) -> None:
    config["StopSignal"] = rest


def _on_build(config: dict[str, Any], rest: str) -> None:
    config["OnBuild"] = [*(config.get("OnBuild") or []), rest]


_INSTRUCTIONS: dict[str, Callable[[dict[str, Any], str], None]] = {
    "CMD": _command,
    "ENTRYPOINT": _entrypoint,
    "ENV": _environment,
    "EXPOSE": _expose,
    "LABEL": _labels,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volumes,
    "WORKDIR": _working_directory,
}
