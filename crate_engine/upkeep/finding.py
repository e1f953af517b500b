"""What a check says about one thing in the store. Pure."""

from __future__ import annotations

from crate_engine.values import dataclass

INDEX, BLOB, LAYER, CONTAINER, NAME, LOCK, LEFTOVER = "index", "blob", "layer", "container", "name", "lock", "leftover"


@dataclass(frozen=True, slots=True)
class Finding:
    """`kind` is one of the constants above, `name` a digest, an id or a path below the store's roots."""

    kind: str
    name: str
    problem: str
    damage: bool = True
    """False: what a command that was killed has not finished. It does no harm, and a repair or a prune removes or finishes it."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.problem}"


@dataclass(frozen=True, slots=True)
class Report:
    """`images`, `blobs`, `layers` and `containers` are how many were looked at."""

    findings: tuple[Finding, ...]
    images: int
    blobs: int
    layers: int
    containers: int

    @property
    def damage(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.damage)
