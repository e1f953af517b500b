"""Platforms (image-spec image-index.md): operating system, architecture, variant; which image of an index suits which machine."""

from __future__ import annotations

import re

from crate_engine.errors import UsageError
from crate_engine.oci.strict_json import Fields
from crate_engine.values import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv8l": ("arm", "v8"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv5tel": ("arm", "v5"),
    "i386": ("386", ""),
    "i486": ("386", ""),
    "i586": ("386", ""),
    "i686": ("386", ""),
    "loongarch64": ("loong64", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
    "mips64": ("mips64", ""),
}
_ALIASES = {name: names for name, names in _MACHINES.items() if name in ("x86_64", "aarch64", "i386")} | {
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_DEFAULT_VARIANTS = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
_TEXT = re.compile(r"[A-Za-z0-9_.+-]{1,64}", re.ASCII)
_FIELDS = frozenset({"architecture", "os", "os.version", "os.features", "variant", "features"})


@dataclass(frozen=True, slots=True)
class Platform:
    """`variant` is empty where the architecture has none, or its usual one: `v8` of arm64 and `v1` of amd64."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """`linux/arm64`, `linux/arm/v7`, or an architecture alone, also as uname(1) calls it. Raises UsageError."""
        parts = text.split("/")
        if len(parts) > 3 or not all(_TEXT.fullmatch(part) for part in parts):
            raise UsageError(f"platform {text[:200]!r}: must look like linux/arm64 or linux/arm/v7")
        if len(parts) == 1:
            parts = [parts[0]] if parts[0].lower() == "linux" else ["linux", parts[0]]
        if len(parts) == 1:
            return cls.host()
        system, architecture, *variant = [part.lower() for part in parts]
        known, known_variant = _ALIASES.get(architecture, (architecture, ""))
        return cls._normal(system, known, variant[0] if variant else known_variant)

    @classmethod
    def host(cls) -> Platform:
        """The machine this runs on."""
        import os

        return cls.of_machine(os.uname().machine)

    @classmethod
    def of_machine(cls, machine: str) -> Platform:
        """From uname(2)'s machine name."""
        architecture, variant = _MACHINES.get(machine, (machine, ""))
        return cls._normal("linux", architecture, variant)

    @classmethod
    def from_object(cls, document: object, where: str) -> Platform:
        fields = Fields(document, where, _FIELDS)
        return cls._normal(*(fields.text(name, limit=256).lower() for name in ("os", "architecture", "variant")))

    @classmethod
    def _normal(cls, system: str, architecture: str, variant: str) -> Platform:
        if variant == _DEFAULT_VARIANTS.get(architecture) and architecture != "arm":
            variant = ""
        return cls(system, architecture, variant)

    def to_object(self) -> dict[str, str]:
        document = {"architecture": self.architecture, "os": self.os}
        if self.variant:
            document["variant"] = self.variant
        return document

    def distance(self, offered: Platform) -> int | None:
        """How far an offered platform is from this wanted one: 0 is the same, more is an older variant that also runs; None does not run."""
        if (self.os, self.architecture) != (offered.os, offered.architecture):
            return None
        if self.variant == offered.variant:
            return 0
        wanted, have = (_variant_number(self.architecture, variant) for variant in (self.variant, offered.variant))
        if wanted is None or have is None:
            return None
        return wanted - have if have <= wanted else None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def nearest(wanted: Platform, offered: Iterable[Platform | None]) -> int | None:
    """The place in `offered` of the best match, the first of equals; None: nothing suits."""
    distances = [(wanted.distance(platform) if platform else None, place) for place, platform in enumerate(offered)]
    suitable = [(distance, place) for distance, place in distances if distance is not None]
    return min(suitable)[1] if suitable else None


def _variant_number(architecture: str, variant: str) -> int | None:
    text = variant or _DEFAULT_VARIANTS.get(architecture, "")
    match = re.fullmatch(r"v([0-9]{1,3})", text, re.ASCII)
    return int(match[1]) if match else None


def unknown(platform: Platform | None) -> bool:
    """The platform that builders give to entries which are no images, such as attestations."""
    return platform is not None and platform.os == "unknown" and platform.architecture == "unknown"
