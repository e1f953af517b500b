"""The suite on another host: pure cgroup v2, systemd, an ordinary user with a session. In a virtual machine, as this one is what it is.

Needs CRATE_VM (see machine.py). One machine for all; each part is a run of pytest in it, whose output is printed. Everything in it is
emulated and takes 15 to 75 times as long as here, so that only what such a host decides is run there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.machine import Machine, NoMachine, booted

_SLOWDOWN = 15
_PART_SECONDS = 1500

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Stopped at the end, also where a test failed or took too long."""
    try:
        with booted() as running:
            yield running
    except NoMachine as lack:
        pytest.skip(str(lack))


def test_the_machine_is_such_a_host(machine: Machine) -> None:
    """Otherwise the parts would be skipped in it, and prove nothing."""
    machine.do(
        "test -e /sys/fs/cgroup/cgroup.controllers && test -d /run/systemd/system && id dev && test -d /run/user/$(id -u dev)"
    )


@pytest.mark.parametrize(
    ("user", "parts"),
    [("root", ["."]), ("dev", ["test_engine.py", "test_user_session.py", "test_systemd_driver.py", "test_podman.py"])],
)
def test_the_tests_pass_inside(machine: Machine, user: str, parts: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """What an ordinary user has no part in needs root; the user's session is skipped as root."""
    with capfd.disabled():
        print(f"\n--- in the virtual machine, as {user}:", flush=True)
        status = machine.pytest(user, *(f"tests/vm/inside/{part}" for part in parts), slowdown=_SLOWDOWN, timeout=_PART_SECONDS)
    assert status == 0, f"pytest in the virtual machine, as {user}: status {status}"
