"""Image configurations (image-spec config.md, docker's image.json): what a container of the image is to be, and its layers' diff ids."""

from __future__ import annotations

import re

from crate_engine import limits
from crate_engine.errors import ImageError
from crate_engine.oci.digest import Digest
from crate_engine.oci.platform import Platform
from crate_engine.oci.strict_json import Fields, parse
from crate_engine.values import dataclass, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FIELDS = frozenset(
    {"architecture", "os", "os.version", "os.features", "variant", "created", "author", "config", "rootfs", "history"}
)
_CONFIG_FIELDS = frozenset(
    {
        "User",
        "ExposedPorts",
        "Env",
        "Entrypoint",
        "Cmd",
        "Volumes",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "Shell",
        "Healthcheck",
        "OnBuild",
    }
)
_HEALTH_FIELDS = frozenset({"Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"})
_HEALTH_NUMBERS = ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
_ROOTFS_FIELDS = frozenset({"type", "diff_ids"})
_HISTORY_FIELDS = frozenset({"created", "created_by", "author", "comment", "empty_layer"})
_TIME = re.compile(
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])",
    re.ASCII,
)
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_SIGNAL = re.compile(
    r"(?:SIG)?(?:[A-Z][A-Z0-9]{1,11}|RTM(?:IN|AX)[+-][0-9]{1,2})|[1-9]|[1-5][0-9]|6[0-4]", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class History:
    """How one layer, or one step that made none, came about. Times are RFC 3339 texts."""

    created: str
    created_by: str
    author: str
    comment: str
    empty_layer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """Texts are empty and tuples too where the image says nothing. All values are an image author's: they are data, never options or paths of the host.

    `env` holds `NAME=value` texts. `exposed_ports` are texts like `80/tcp`, `volumes` paths in the container. `created` is an RFC 3339 text.
    `diff_ids` are the digests of the uncompressed layers, the lowest first. None in `entrypoint` or `cmd`: not set, which docker tells from empty.
    """

    os: str
    architecture: str
    variant: str = ""
    created: str = ""
    author: str = ""
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> Platform:
        return Platform.from_object({"os": self.os, "architecture": self.architecture, "variant": self.variant}, "config")

    @classmethod
    def from_json(cls, raw: bytes) -> ImageConfig:
        """Raises ImageError naming the field that is wrong."""
        top = Fields(parse(raw, "image configuration", limits.CONFIG_BYTES), "config", _FIELDS)
        inner = Fields(top.members("config"), "config.config", _CONFIG_FIELDS)
        _check_unused(inner)
        return cls(
            os=top.text("os", required=True, limit=64),
            architecture=top.text("architecture", required=True, limit=64),
            variant=top.text("variant", limit=64),
            created=_time(top, "created"),
            author=top.text("author"),
            user=inner.text("User", limit=512),
            working_dir=_working_directory(inner),
            stop_signal=_signal(inner),
            entrypoint=inner.texts("Entrypoint") if inner.has("Entrypoint") else None,
            cmd=inner.texts("Cmd") if inner.has("Cmd") else None,
            env=_environment(inner),
            shell=inner.texts("Shell"),
            exposed_ports=_ports(inner),
            volumes=_volumes(inner),
            labels=inner.mapping("Labels"),
            diff_ids=_diff_ids(top),
            history=tuple(_history(entry, place) for place, entry in enumerate(top.array("history"))),
        )


def _check_unused(inner: Fields) -> None:
    """What docker's builder and health checks read. It is used by nothing here, and is of the right kind all the same where it goes on to others."""
    inner.texts("OnBuild")
    health = Fields(inner.members("Healthcheck"), "config.config.Healthcheck", _HEALTH_FIELDS)
    health.texts("Test")
    for name in _HEALTH_NUMBERS:
        health.integer(name)


def _time(fields: Fields, name: str) -> str:
    text = fields.text(name, limit=64)
    if text and not _is_time(text):
        raise fields.wrong(name, f"{text!r} is no RFC 3339 time")
    return text


def _is_time(text: str) -> bool:
    match = _TIME.fullmatch(text)
    if match is None:
        return False
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return day <= _DAYS[month - 1] + leap


def _environment(fields: Fields) -> tuple[str, ...]:
    values = fields.texts("Env")
    for place, text in enumerate(values):
        name, separator, _ = text.partition("=")
        if not (name and separator):
            raise fields.wrong(f"Env[{place}]", f"{text[:64]!r} is not NAME=value")
    return values


def _working_directory(fields: Fields) -> str:
    text = fields.text("WorkingDir", limit=limits.PATH_BYTES)
    if text and not text.startswith("/"):
        # Docker resolves it against the root; a few builders leave the slash out.
        text = "/" + text
    return text


def _signal(fields: Fields) -> str:
    text = fields.text("StopSignal", limit=16)
    if text and not _SIGNAL.fullmatch(text):
        raise fields.wrong("StopSignal", f"{text!r} is no signal")
    return text


def _ports(fields: Fields) -> tuple[str, ...]:
    values = fields.keys("ExposedPorts")
    for text in values:
        match = _PORTS.fullmatch(text)
        numbers = [int(number) for number in match.groups()[:2] if number] if match else []
        if not numbers or not all(1 <= number <= 65535 for number in numbers) or sorted(numbers) != numbers:
            raise fields.wrong("ExposedPorts", f"{text[:64]!r} is no port")
    return tuple(text.lower() for text in values)


def _volumes(fields: Fields) -> tuple[str, ...]:
    values = fields.keys("Volumes")
    for text in values:
        if not text or len(text) > limits.PATH_BYTES:
            raise fields.wrong("Volumes", f"{text[:64]!r} is no path")
    return values


def _diff_ids(top: Fields) -> tuple[Digest, ...]:
    rootfs = Fields(top.members("rootfs", required=True), "config.rootfs", _ROOTFS_FIELDS)
    if rootfs.text("type", required=True, limit=64) != "layers":
        raise rootfs.wrong("type", "must be 'layers'")
    texts: list[Any] = rootfs.array("diff_ids", limit=limits.LAYERS)
    return tuple(Digest.parse(text, f"config.rootfs.diff_ids[{place}]") for place, text in enumerate(texts))


def _history(entry: object, place: int) -> History:
    fields = Fields(entry, f"config.history[{place}]", _HISTORY_FIELDS)
    empty = entry.get("empty_layer") if isinstance(entry, dict) else None
    if empty is not None and not isinstance(empty, bool):
        raise ImageError(f"config.history[{place}].empty_layer: must be true or false")
    return History(
        _time(fields, "created"), fields.text("created_by"), fields.text("author"), fields.text("comment"), bool(empty)
    )
