"""pause, update and events on cgroup v2, beside runc: a part of the conformance tests. As root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.test_cgroup import no_parent_left  # noqa: F401
from tests.conformance.test_events import (  # noqa: F401
    test_figures_have_the_same_names_everywhere,
    test_it_ends_with_the_container,
    test_pressure_is_among_the_figures_of_v2,
    test_want_of_memory_is_an_event,
)
from tests.conformance.test_pause import (  # noqa: F401
    counting,
    test_kill_ends_a_paused_container,
    test_processes_stand_still_and_go_on,
)
from tests.conformance.test_resources import test_what_v2_has_no_word_for_is_an_error  # noqa: F401
from tests.conformance.test_update import (  # noqa: F401
    test_a_limit_of_memory_alone_leaves_that_of_both,
    test_a_quota_keeps_its_period_and_the_other_way_round,
    test_device_rules_change_in_a_running_container,
    test_what_cannot_be_set_changes_nothing,
)
from tests.support import host
from tests.support.runtime import Bundle, OciRuntime


@pytest.fixture(params=["crate-runc", "runc"])
def runtime_program(request: pytest.FixtureRequest) -> tuple[str, str]:
    """crun has no `events`, and words of its own."""
    if request.param == "crate-runc":
        bin_directory: Path = request.getfixturevalue("bin_directory")
        return request.param, str(bin_directory / "crate-runc")
    return request.param, host.program(request.param)


def test_files_of_v2_are_written_as_they_are(runtime: OciRuntime, bundle: Bundle) -> None:
    """Seen from inside, which has the cgroup as its root."""
    bundle.linux["resources"]["unified"] = {"memory.high": "50003968", "pids.max": "77"}
    bundle.namespace("cgroup").runs("/bin/sleep", "1000")
    with runtime.running(bundle) as identity:
        script = "cd /sys/fs/cgroup; cat memory.high pids.max"
        assert runtime.exec(identity, "sh", "-c", script).out.split() == ["50003968", "77"]


def test_huge_pages_are_limited(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["resources"]["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 << 20}]
    bundle.namespace("cgroup").runs("cat", "/sys/fs/cgroup/hugetlb.2MB.max", "/sys/fs/cgroup/hugetlb.2MB.rsvd.max")
    if not Path("/sys/kernel/mm/hugepages/hugepages-2048kB").exists():
        pytest.skip("needs huge pages of 2 MB")
    found = runtime.output(bundle).split()
    assert found[0] == str(4 << 20)
    if runtime.name == "crate-runc":  # runc 1.1 limits those in use alone
        assert found[1] == str(4 << 20)
