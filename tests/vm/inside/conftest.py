"""Tests for a host with pure cgroup v2 and systemd, run by whoever the containers are to belong to: root, or a user with a session.

`tests/vm/test_vm.py` runs them in a virtual machine; on a machine that is such a host they run without one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account


@pytest.fixture(scope="session", autouse=True)
def _suitable_host() -> None:
    if host.cgroup_mode() != "v2":
        pytest.skip("needs cgroup v2 alone")
    if not Path("/run/systemd/system").exists():
        pytest.skip("needs systemd")


@pytest.fixture(scope="session")
def account(request: pytest.FixtureRequest) -> Account:
    """Whoever runs the tests: the part of another user is a run of its own, in a session of its own."""
    account: Account = request.getfixturevalue("ourselves" if host.IS_ROOT else "rootless_user")
    return account


@pytest.fixture(params=["crate-runc", "runc", "crun"])
def runtime_program(request: pytest.FixtureRequest) -> tuple[str, str]:
    """With crun, which does not start on other hosts that tests run on."""
    if request.param == "crate-runc":
        bin_directory: Path = request.getfixturevalue("bin_directory")
        return request.param, str(bin_directory / "crate-runc")
    return request.param, host.program(request.param)
