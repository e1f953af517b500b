"""checkpoint and restore on a kernel of criu's age, as root, of crate-runc and runc; skipped where criu is not installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.test_checkpoint import (  # noqa: F401
    TestHelp,
    TestWithCriu,
    counting,
    criu,
    images,
    network,
)
from tests.support import host


@pytest.fixture(autouse=True)
def _as_root() -> None:
    host.need_root()


@pytest.fixture(params=["crate-runc", "runc"])
def runtime_program(request: pytest.FixtureRequest) -> tuple[str, str]:
    """crun has other flags."""
    if request.param == "crate-runc":
        bin_directory: Path = request.getfixturevalue("bin_directory")
        return request.param, str(bin_directory / "crate-runc")
    return request.param, host.program(request.param)
