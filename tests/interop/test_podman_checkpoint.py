"""podman checkpoints and restores through crate-runc and criu, where criu works; elsewhere it is told that it does not."""

from __future__ import annotations

import pytest

from tests.conformance.test_checkpoint import criu_defect
from tests.interop.test_podman import Podman, no_containers, podman_as_root  # noqa: F401
from tests.support.programs import eventually

COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"


@pytest.fixture
def counting(podman_as_root: Podman) -> Podman:  # noqa: F811
    podman_as_root.run("sh", "-c", COUNTS, flags=("--detach", "--name", "saved"))
    eventually(lambda: numbers(podman_as_root), "it counts")
    return podman_as_root


def numbers(podman: Podman) -> list[int]:
    return [int(line) for line in podman("logs", "saved").out.split()]


def test_a_container_is_saved_and_goes_on(counting: Podman) -> None:
    if defect := criu_defect():
        pytest.skip(f"needs a criu that works on this kernel: {defect}")
    counting("container", "checkpoint", "saved", timeout=120)
    assert counting.inspect("saved", "{{.State.Status}}") == "exited"
    reached = numbers(counting)[-1]
    counting("container", "restore", "saved", timeout=120)
    assert counting.inspect("saved", "{{.State.Status}}") == "running"
    eventually(lambda: numbers(counting)[-1] > reached, "it counts on")
    assert numbers(counting) == list(range(1, numbers(counting)[-1] + 1))


def test_where_criu_does_not_work_podman_says_so_and_the_container_runs_on(counting: Podman) -> None:
    if not criu_defect():
        pytest.skip("criu works on this host")
    assert "checkpoint" in counting("container", "checkpoint", "saved", status=125).err
    assert counting.inspect("saved", "{{.State.Status}}") == "running"
