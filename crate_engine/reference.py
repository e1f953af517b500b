"""Image references in docker's grammar (distribution's *reference* grammar and its normalisation of short names). ASCII only, no lookups.

[registry[:port]/]path[:tag][@digest]      nginx → docker.io/library/nginx:latest
"""

from __future__ import annotations

import re

from crate_engine.errors import ImageError, InvalidReference
from crate_engine.oci.digest import Digest
from crate_engine.values import dataclass

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_IDENTIFIER = re.compile(r"[0-9a-f]{64}", re.ASCII)
_LONGEST_REPOSITORY, _LONGEST, _SHOWN = 255, 1024, 200
_DOCKER = "docker.io"


@dataclass(frozen=True, slots=True)
class Reference:
    """`registry` is a host with an optional port, `repository` the path on it. At least one of `tag` and `digest` is set; the digest decides."""

    registry: str
    repository: str
    tag: str | None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises InvalidReference."""
        if not text or len(text) > _LONGEST:
            raise InvalidReference(f"image name {_shown(text)}: must have 1 to {_LONGEST} characters")
        name, at, digest_text = text.partition("@")
        digest = _digest(text, digest_text) if at else None
        name, tag = _split_tag(name)
        if tag is not None and not _TAG.fullmatch(tag):
            raise InvalidReference(
                f"image name {_shown(text)}: {_shown(tag)} is no tag",
                hint="a tag has up to 128 letters, digits, '_', '.' and '-'",
            )
        registry, repository = _split_registry(text, name)
        if tag is None and digest is None:
            tag = "latest"
        return cls(registry, repository, tag, digest)

    @property
    def name(self) -> str:
        """The full name without tag and digest."""
        return f"{self.registry}/{self.repository}"

    @property
    def familiar_name(self) -> str:
        """As docker shows it in the column REPOSITORY."""
        if self.registry != _DOCKER:
            return self.name
        short = self.repository.removeprefix("library/") if self.repository.count("/") == 1 else self.repository
        # docker.io/quay.io/app is not quay.io/app, and docker.io/library/<64 digits> no image id.
        return self.name if _is_registry(*short.partition("/")[:2]) or _IDENTIFIER.fullmatch(short) else short

    @property
    def familiar(self) -> str:
        """The shortest text that means the same image: `nginx:latest`."""
        return self.familiar_name + self._tail

    @property
    def _tail(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def with_digest(self, digest: Digest) -> Reference:
        """The same repository, exactly this content."""
        return Reference(self.registry, self.repository, None, digest)

    def __str__(self) -> str:
        return self.name + self._tail


def _split_tag(name: str) -> tuple[str, str | None]:
    # A colon before the last slash belongs to the registry's port.
    head, colon, tail = name.rpartition(":")
    return (head, tail) if colon and "/" not in tail else (name, None)


def _split_registry(text: str, name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if _is_registry(first, slash):
        registry, repository = first, rest
        if not _REGISTRY.fullmatch(registry) or not _port_in_range(registry):
            raise InvalidReference(f"image name {_shown(text)}: {_shown(registry)} is no registry host")
    else:
        registry, repository = _DOCKER, name
        if _IDENTIFIER.fullmatch(name):
            raise InvalidReference(f"image name {_shown(text)}: 64 hexadecimal digits are an image id, not a name")
    if registry == f"index.{_DOCKER}":
        registry = _DOCKER
    if registry == _DOCKER and "/" not in repository:
        repository = f"library/{repository}"
    _check_repository(text, repository)
    return registry, repository


def _is_registry(first: str, slash: str) -> bool:
    """Docker's rule: the first part is a registry when it could not be a path on docker.io."""
    return bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())


def _check_repository(text: str, repository: str) -> None:
    if len(repository) > _LONGEST_REPOSITORY:
        raise InvalidReference(f"image name {_shown(text)}: the repository has more than {_LONGEST_REPOSITORY} characters")
    if _REPOSITORY.fullmatch(repository):
        return
    if _REPOSITORY.fullmatch(repository.lower()):
        raise InvalidReference(f"image name {_shown(text)}: the repository must be lower case", hint=f"try {repository.lower()}")
    raise InvalidReference(
        f"image name {_shown(text)}: the repository may have lower-case letters and digits, separated by '.', '_', '__', '-' or '/'"
    )


def _port_in_range(registry: str) -> bool:
    _, colon, port = registry.rpartition(":")
    return not colon or registry.endswith("]") or int(port) <= 65535


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")


def _digest(text: str, digest: str) -> Digest:
    try:
        return Digest.parse(digest)
    except ImageError:
        raise InvalidReference(f"image name {_shown(text)}: what follows '@' must be sha256: and 64 hexadecimal digits") from None
