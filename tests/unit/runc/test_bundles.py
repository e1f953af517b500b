"""The example bundles: each is free of defects, explains its properties, and has the plan that stands beside it."""

from __future__ import annotations

import json

import pytest

from crate_runc import check, spec
from tests import golden


def test_there_are_at_least_four() -> None:
    assert len(golden.names()) >= 4


@pytest.mark.parametrize("name", golden.names())
def test_has_no_defect(name: str) -> None:
    assert check.bundle(str(golden.BUNDLES / name)) == []


@pytest.mark.parametrize("name", golden.names())
def test_its_plan_is_the_golden_one(name: str) -> None:
    """After a wanted change: python -m tests.golden"""
    assert golden.render(name) == (golden.BUNDLES / name / "plan.txt").read_text()


@pytest.mark.parametrize("name", golden.names())
def test_its_readme_explains_properties(name: str) -> None:
    text = (golden.BUNDLES / name / "README.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert "| property |" in text


@pytest.mark.parametrize("name", golden.names())
def test_its_plan_names_no_place_of_this_machine(name: str) -> None:
    assert str(golden.BUNDLES.parent) not in golden.render(name)


def test_default_and_rootless_are_what_spec_writes() -> None:
    default, rootless = (json.loads((golden.BUNDLES / name / "config.json").read_text()) for name in ("default", "rootless"))
    assert default == spec.make(rootless=False, uid=0, gid=0)
    assert rootless == spec.make(rootless=True, uid=1000, gid=1000)
