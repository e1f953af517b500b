"""Digests (image-spec descriptor.md, *Digests*): the only thing that blob paths and blob addresses are made of."""

from __future__ import annotations

import re

from crate_engine.errors import ImageError
from crate_engine.values import dataclass

_GRAMMAR = re.compile(r"(sha256):([0-9a-f]{64})|(sha512):([0-9a-f]{128})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Digest:
    """`algorithm` is sha256 or sha512, `hex` its lower-case digits: safe in a path and in an address."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: object, where: str = "digest") -> Digest:
        """Raises ImageError with `where`, the place the text came from."""
        match = _GRAMMAR.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            shown = text[:140] if isinstance(text, str) else text
            raise ImageError(f"{where}: {shown!r} is no sha256 or sha512 digest")
        return cls(match[1] or match[3], match[2] or match[4])

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The sha256 digest of bytes."""
        import hashlib

        return cls("sha256", hashlib.sha256(content).hexdigest())

    def matches(self, content: bytes) -> bool:
        import hashlib

        return hashlib.new(self.algorithm, content).hexdigest() == self.hex

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"
