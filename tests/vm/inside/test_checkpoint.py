"""checkpoint and restore on a kernel of criu's age, as root, ; skipped where criu is not installed."""

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


@pytest.fixture
def runtime_program(bin_directory: Path) -> tuple[str, str]:
    """Here only ours: with runc they take twice the time, and they are compared where the host's own criu works."""
    return "crate-runc", str(bin_directory / "crate-runc")
