"""What registries.conf says (containers-registries.conf(5), version 2): where an image is really pulled from, and what a short name means.

Reads the files and answers from them; asks no registry. Its first version (`[registries.search]`) is refused, the cache of short names that
podman writes when someone has chosen is not read, and nobody is asked to choose: a short name with several meanings is tried or refused.
"""

from __future__ import annotations

import os
import re

from crate_engine import limits
from crate_engine.errors import ImageError, InvalidReference, RegistryError, SettingsError
from crate_engine.reference import Reference
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from crate_engine.store.images import ImageStore

_MAIN = "/etc/containers/registries.conf"
_MODES = ("enforcing", "permissive", "disabled")
_FROM_MIRROR = ("all", "digest-only", "tag-only")
# tomllib is imported where a file says something that matters: the comments of a distribution's own file do not.
_ABOUT_REGISTRIES = re.compile(rb"""^[ \t]*(?:\[\[?[ \t]*["']?registr|["']?registry["']?[ \t]*=[ \t]*\[)""", re.MULTILINE)
_ANYTHING = re.compile(rb"^[ \t]*[^#\s]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an image can be pulled from: `reference` says by which name it is known there. A mirror may lack it."""

    reference: Reference
    insecure: bool = False
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class _Mirror:
    location: str
    insecure: bool
    pull: str
    """all, digest-only or tag-only."""


@dataclass(frozen=True, slots=True)
class _Registry:
    prefix: str
    location: str
    insecure: bool
    blocked: bool
    mirrors: tuple[_Mirror, ...]


@dataclass(frozen=True, slots=True)
class Registries:
    """What all files together say. `search` is None where none of them has a list: docker.io, as for docker."""

    registries: tuple[_Registry, ...] = ()
    search: tuple[str, ...] | None = None
    mode: str = "permissive"
    aliases: tuple[tuple[str, str], ...] = ()

    def endpoints(self, reference: Reference) -> list[Endpoint]:
        """Where to pull from, in order: the mirrors, then the place itself. Raises RegistryError for what is blocked."""
        registry = self._of(reference)
        if registry is None:
            return [Endpoint(reference)]
        if registry.blocked:
            raise RegistryError(
                f"pull {reference.familiar}: registry {registry.prefix} is blocked in registries.conf",
                hint="the host's administrator decides: see containers-registries.conf(5)",
            )
        wanted = "digest-only" if reference.digest else "tag-only"
        mirrors = [
            Endpoint(_rewritten(reference, registry.prefix, mirror.location), mirror.insecure, mirror=True)
            for mirror in registry.mirrors
            if mirror.pull in ("all", wanted)
        ]
        return [*mirrors, Endpoint(_rewritten(reference, registry.prefix, registry.location), registry.insecure)]

    def insecure(self, reference: Reference) -> bool:
        """Whether the entry for this image, without its mirrors, says so."""
        registry = self._of(reference)
        return registry is not None and registry.insecure

    def candidates(self, text: str) -> list[Reference]:
        """What an image's name as it was typed may mean, the likeliest first; one where it has a registry in it. Raises InvalidReference."""
        reference = Reference.parse(text)
        short = _short_name(text, reference)
        if short is None:
            return [reference]
        for name, target in self.aliases:
            if name == short:
                return [_named(target, reference)]
        if self.search is None:
            return [reference]
        found = [_named(f"{registry}/{short}", reference) for registry in self.search]
        if not found:
            raise InvalidReference(
                f"image name {text!r}: registries.conf searches no registry for short names",
                hint=f"give its registry: docker.io/{short}",
            )
        if len(found) > 1 and self.mode == "enforcing":
            names = ", ".join(one.familiar for one in found)
            raise InvalidReference(
                f"image name {text!r}: it could be any of {names}", hint="give the whole name, or make it an alias"
            )
        return found

    def _of(self, reference: Reference) -> _Registry | None:
        """The entry with the longest prefix."""
        matching = [entry for entry in self.registries if _matches(entry.prefix, reference)]
        return max(matching, key=lambda entry: len(entry.prefix), default=None)


def load(paths: Iterable[str] | None = None, *, short_names: bool = True) -> Registries:
    """From the files of containers-registries.conf(5), or `paths` instead, a later one winning entry by entry. Raises SettingsError.

    Without `short_names` files that only say what those mean are not parsed.
    """
    entries: dict[str, _Registry] = {}
    aliases: dict[str, str] = {}
    search: tuple[str, ...] | None = None
    mode = "permissive"
    for path in _paths() if paths is None else paths:
        document = _read(path, short_names=short_names)
        if not document:
            continue
        for number, entry in enumerate(_list(document, "registry", dict, path)):
            made = _registry(entry, f"{path}: registry[{number}]")
            entries[made.prefix] = made
        if "unqualified-search-registries" in document:
            search = tuple(_list(document, "unqualified-search-registries", str, path))
        mode = _choice(document, "short-name-mode", _MODES, mode, path)
        aliases |= {name: target for name, target in _table(document, "aliases", path).items() if isinstance(target, str)}
        aliases = {name: target for name, target in aliases.items() if target}  # an empty one takes it back
    return Registries(tuple(entries.values()), search, mode, tuple(aliases.items()))


def local_name(text: str, images: ImageStore) -> str | None:
    """Which image in the store a short name means, where it is none of docker.io: what pulling it would have brought. None: there is none."""
    try:
        candidates = load().candidates(text)
    except (InvalidReference, SettingsError):
        return None
    for candidate in map(str, candidates):
        try:
            images.find(candidate)
        except ImageError:
            continue
        return candidate
    return None


def _paths() -> list[str]:
    own = f"{os.environ.get('XDG_CONFIG_HOME') or os.environ.get('HOME', '') + '/.config'}/containers/registries.conf"
    main = os.environ.get("CONTAINERS_REGISTRIES_CONF") or (own if os.path.exists(own) else _MAIN)
    paths = [main]
    for directory in (f"{_MAIN}.d", f"{own}.d"):
        try:
            paths += [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(".conf")]
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
    return paths


def _read(path: str, *, short_names: bool) -> dict[str, Any]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SettingsError(f"read {path}: {error.strerror}") from error
    with open(fd, "rb") as file:
        raw = file.read(limits.TOKEN_BYTES + 1)
    if len(raw) > limits.TOKEN_BYTES:
        raise SettingsError(f"read {path}: it is larger than {limits.TOKEN_BYTES} bytes")
    if not (_ANYTHING if short_names else _ABOUT_REGISTRIES).search(raw):
        return {}
    import tomllib

    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"read {path}: {error}") from error
    if "registries" in document:
        raise SettingsError(
            f"read {path}: [registries] is the file's first version, which is not supported",
            hint="see containers-registries.conf(5)",
        )
    return document


def _registry(entry: dict[str, Any], where: str) -> _Registry:
    location = _location(_text(entry, "location", where), where)
    prefix = _text(entry, "prefix", where).rstrip("/") or location
    if not prefix:
        raise SettingsError(f"read {where}: it has neither a prefix nor a location")
    if prefix.startswith("*.") and "/" in prefix:
        raise SettingsError(f"read {where}: prefix {prefix!r}: a wildcard stands for hosts alone")
    if not location and not prefix.startswith("*."):
        location = prefix
    digests = _flag(entry, "mirror-by-digest-only", where)
    mirrors = tuple(
        _mirror(mirror, f"{where}: mirror[{number}]", digests)
        for number, mirror in enumerate(_list(entry, "mirror", dict, where))
    )
    return _Registry(prefix, location, _flag(entry, "insecure", where), _flag(entry, "blocked", where), mirrors)


def _mirror(entry: dict[str, Any], where: str, digests: bool) -> _Mirror:
    location = _location(_text(entry, "location", where), where)
    if not location:
        raise SettingsError(f"read {where}: location: is missing")
    pull = _choice(entry, "pull-from-mirror", _FROM_MIRROR, "digest-only" if digests else "all", where)
    return _Mirror(location, _flag(entry, "insecure", where), pull)


def _location(text: str, where: str) -> str:
    location = text.rstrip("/")
    if "://" in location:
        raise SettingsError(
            f"read {where}: location {text!r}: must be a host and a path, without {location.partition('://')[0]}://"
        )
    return location


def _matches(prefix: str, reference: Reference) -> bool:
    if prefix.startswith("*."):
        host = reference.registry.partition(":")[0] if ":" not in prefix else reference.registry
        return host.endswith(prefix[1:])
    rest = str(reference).removeprefix(prefix)
    return rest != str(reference) and rest[:1] in ("/", ":", "@")


def _rewritten(reference: Reference, prefix: str, location: str) -> Reference:
    """The same image under the location that stands for the prefix."""
    if not location or location == prefix:
        return reference
    if prefix.startswith("*."):
        name = f"{location}/{reference.repository}"
    else:
        name = location + reference.name.removeprefix(prefix) if reference.name.startswith(prefix) else location
    try:
        return _named(name, reference)
    except InvalidReference as error:
        raise SettingsError(f"registries.conf: location {location!r} makes an impossible name: {error}") from error


def _named(name: str, reference: Reference) -> Reference:
    """`name`, which has a registry in it, with the tag and digest of `reference`."""
    host, slash, path = name.partition("/")
    if slash and "." not in host and ":" not in host and host != "localhost":
        # A bare word is a host here, and would be a part of a path on docker.io when parsed.
        return Reference(host, Reference.parse(f"localhost/{path}").repository, reference.tag, reference.digest)
    made = Reference.parse(name)
    return Reference(
        made.registry, made.repository, made.tag if ":" in name.rpartition("/")[2] else reference.tag, reference.digest
    )


def _short_name(text: str, reference: Reference) -> str | None:
    """The name without tag and digest, where it has no registry in it."""
    name = text.partition("@")[0]
    if reference.tag is not None and name.endswith(f":{reference.tag}"):
        name = name.removesuffix(f":{reference.tag}")
    first, slash, _ = name.partition("/")
    return None if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()) else name


def _list(table: Mapping[str, Any], key: str, kind: type, where: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(entry, kind) for entry in value):
        raise SettingsError(f"read {where}: {key}: must be a list of {'tables' if kind is dict else 'texts'}")
    return value


def _table(table: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise SettingsError(f"read {where}: {key}: must be a table")
    return value


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise SettingsError(f"read {where}: {key}: must be a text")
    return value


def _flag(table: Mapping[str, Any], key: str, where: str) -> bool:
    value = table.get(key, False)
    if not isinstance(value, bool):
        raise SettingsError(f"read {where}: {key}: must be true or false")
    return value


def _choice(table: Mapping[str, Any], key: str, choices: tuple[str, ...], default: str, where: str) -> str:
    value = table.get(key, default)
    if value not in choices:
        raise SettingsError(f"read {where}: {key}: {value!r} must be one of {', '.join(choices)}")
    return str(value)
