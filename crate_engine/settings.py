"""The settings of crate: one YAML file for the host and one for the user, as described in docs/settings.md.

The files are checked against schemas/crate/settings.json, and a wrong key is named with its line. Where there is no file, neither yaml nor
jsonschema is imported. Flags of the command line, which win over settings, are not known here.
"""

from __future__ import annotations

import os
import stat

from crate_engine.errors import SettingsError
from crate_engine.values import dataclass

TYPE_CHECKING = False  # importing typing takes longer than reading the settings of most people
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

HOST_FILE = "/etc/crate/config.yaml"
LARGEST_FILE = 64 * 1024
"""Bytes; a settings file beyond this is refused unread."""
DEEPEST = 16
"""Levels of nesting that a settings file may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every field has a key of the same name in the files, in the schema and in docs/settings.md. None: crate's own rule decides."""

    root: str | None = None
    runroot: str | None = None
    runtime: str = "crate-runc"
    network: str = "private"
    """private, host or none."""
    log_level: str = "warning"
    """debug, info, warning or error."""
    stop_timeout: int = 10
    """Seconds between the stop signal and SIGKILL."""
    insecure_registries: tuple[str, ...] = ()
    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    pull: str = "missing"
    """missing, always, newer or never."""
    platform: str | None = None


def load(paths: Sequence[str] | None = None) -> Settings:
    """Read the files, the later winning key by key. A file that does not exist is skipped; raises SettingsError for one that is wrong.

    Without `paths`: $CRATE_CONFIG alone when it is set (it must exist; /dev/null for none), else the host's file and the user's.
    """
    merged: dict[str, Any] = {}
    if paths is not None:
        for path in paths:
            merged |= _read(path)
    elif named := os.environ.get("CRATE_CONFIG"):
        merged = {} if named == os.devnull else _read(named, required=True)
    else:
        merged = _read(HOST_FILE) | _read(user_file(), own=True)
    return Settings(**merged) if merged else Settings()


def user_file() -> str:
    """Where the calling user's settings are; the file need not exist."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):  # a relative value must be ignored: XDG Base Directory Specification
        base = os.path.join(os.path.expanduser("~"), ".config")
    return os.path.join(base, "crate", "config.yaml")


def _read(path: str, *, required: bool = False, own: bool = False) -> dict[str, Any]:
    text = _text(path, required=required, own=own)
    if text is None:
        return {}
    document, lines = _parse(text, path)
    if document is None:  # nothing but comments
        return {}
    from crate_engine.validate import validate

    defects = sorted((lines.get(defect.path, 1), str(defect)) for defect in validate(document, "crate/settings"))
    if defects:
        line, text = defects[0]
        more = f" (and {len(defects) - 1} more)" if len(defects) > 1 else ""
        raise SettingsError(f"settings {path}:{line}: {text}{more}", hint="docs/settings.md describes every key")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}


def _text(path: str, *, required: bool, own: bool) -> str | None:
    """None: there is no such file, or with `own` it belongs to someone else (root under `sudo -E` does not obey the user's file)."""
    try:
        # O_NONBLOCK: opening a fifo that stands there must not hang
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise SettingsError(f"settings {path}: no such file", hint="it is named by $CRATE_CONFIG") from error
        return None
    except OSError as error:
        raise SettingsError(f"settings {path}: cannot be opened: {error.strerror}") from error
    try:
        facts = os.fstat(fd)
        if own and facts.st_uid != os.geteuid():
            return None
        if not stat.S_ISREG(facts.st_mode):
            raise SettingsError(f"settings {path}: not a regular file")
        if facts.st_mode & stat.S_IWOTH:
            raise SettingsError(f"settings {path}: any user can change it", hint=f"chmod o-w {path}")
        content = os.read(fd, LARGEST_FILE + 1)
    finally:
        os.close(fd)
    if len(content) > LARGEST_FILE:
        raise SettingsError(f"settings {path}: larger than {LARGEST_FILE} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"settings {path}:{line}: not UTF-8 text") from error


def _parse(text: str, path: str) -> tuple[Any, dict[str, int]]:
    """The plain document, and for each path in it (as `validate` writes paths) its line."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        node = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"settings {path}:{line}: not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"settings {path}: not YAML: {' '.join(str(error).split())}") from error
    lines: dict[str, int] = {}
    return (None if node is None else _Document(path, lines).value(node, ())), lines


class _Document:
    """Turns the YAML nodes of one file into plain values. Anchors are refused: a few lines of them can stand for gigabytes."""

    def __init__(self, path: str, lines: dict[str, int]) -> None:
        self.path = path
        self.lines = lines
        self.seen: set[int] = set()

    def value(self, node: Any, place: tuple[str | int, ...]) -> Any:
        from yaml.constructor import SafeConstructor
        from yaml.nodes import MappingNode, SequenceNode

        from crate_engine.validate import path_text

        self.lines.setdefault(path_text(place), node.start_mark.line + 1)
        if id(node) in self.seen:
            raise self.wrong(node, "aliases are not supported here")
        self.seen.add(id(node))
        if len(place) > DEEPEST:
            raise self.wrong(node, f"more than {DEEPEST} levels deep")
        if isinstance(node, MappingNode):
            return self.mapping(node, place)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*place, number)) for number, item in enumerate(node.value)]
        try:
            return SafeConstructor().construct_object(node)
        except Exception as error:  # a custom tag, an impossible date: yaml raises its own errors and ValueError
            raise self.wrong(node, f"{node.value!r} cannot be read") from error

    def mapping(self, node: Any, place: tuple[str | int, ...]) -> dict[str, Any]:
        from crate_engine.validate import path_text

        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag != "tag:yaml.org,2002:str":
                raise self.wrong(key_node, f"{key!r} is not a key: keys are plain words")
            if key in result:
                raise self.wrong(key_node, f"{key}: given twice")
            self.lines[path_text((*place, key))] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*place, key))
        return result

    def wrong(self, node: Any, what: str) -> SettingsError:
        return SettingsError(f"settings {self.path}:{node.start_mark.line + 1}: {what}")
