"""crate_engine.system.process: the sealed start of the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from crate_engine.system import process
from crate_runc.process import seal

LIBRARY = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def test_a_python_that_was_moved_finds_its_library_when_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    python = tmp_path / "bin/python3"
    python.touch()
    monkeypatch.setattr(sys, "executable", str(python))
    assert process.sealed_environment() == seal._environment(str(python)) == {}
    (tmp_path / "lib" / LIBRARY).touch()
    expected = {"LD_LIBRARY_PATH": str(tmp_path / "lib")}
    assert process.sealed_environment() == seal._environment(str(python)) == expected
