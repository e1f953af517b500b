"""ARCHITECTURE.md: the map names every module, so that a reader with the specification open finds a thing in one guess."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
# One file for each section of config.json, kernel interface or noun of the command line: the map says the rule instead.
BY_RULE = ("crate_runc/steps", "crate_runc/kernel", "crate_engine/cli", "crate_engine/embedded")


def modules() -> list[str]:
    paths = [
        path.relative_to(REPOSITORY)
        for package in ("crate_runc", "crate_engine")
        for path in (REPOSITORY / package).rglob("*.py")
    ]
    return sorted(str(path) for path in paths if not path.stem.startswith("_") and not str(path).startswith(BY_RULE))


def test_there_are_modules() -> None:
    assert len(modules()) > 80


@pytest.mark.parametrize("module", modules())
def test_the_map_names_the_module(module: str) -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    drawn = text.split("```")[1]
    assert re.search(rf"\b{Path(module).stem}\b", drawn), f"{module} is not on the map"
