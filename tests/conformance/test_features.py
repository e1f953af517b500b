"""`features`: crate-runc names all that runc names."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import host

# Flags that Linux has given up: crate-runc hands the words on to the file system, which still knows them.
LEFT_TO_THE_FILE_SYSTEM = {"acl", "noacl"}


def features(program: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(subprocess.run([program, "features"], capture_output=True, check=True).stdout)
    return found


@pytest.fixture(scope="module")
def both(bin_directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return features(str(bin_directory / "crate-runc")), features(host.program("runc"))


def test_every_list_has_what_runc_has(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    assert set(ours["hooks"]) >= set(theirs["hooks"])
    assert set(ours["mountOptions"]) >= set(theirs["mountOptions"]) - LEFT_TO_THE_FILE_SYSTEM
    assert set(ours["linux"]["namespaces"]) >= set(theirs["linux"]["namespaces"])
    assert set(ours["linux"]["capabilities"]) >= set(theirs["linux"]["capabilities"])
    for name in ("actions", "operators", "archs"):
        assert set(ours["linux"]["seccomp"][name]) >= set(theirs["linux"]["seccomp"][name])


def test_everything_that_runc_has_is_enabled(both: tuple[dict[str, Any], dict[str, Any]]) -> None:
    ours, theirs = both
    for section in ("cgroup", "apparmor", "selinux", "seccomp"):
        enabled = {name for name, value in theirs["linux"][section].items() if value is True}
        assert {name for name in enabled if ours["linux"][section].get(name) is not True} == set(), section
