"""A part of the conformance tests, now of three runtimes: what differs most between hosts. As root."""

from __future__ import annotations

from tests.conformance.test_cgroup import (  # noqa: F401
    no_parent_left,
    test_cgroup_is_joined_before_the_first_instruction,
    test_delete_force_ends_processes_that_left_the_pid_of_the_container,
)
from tests.conformance.test_exec import (  # noqa: F401
    identity,
    test_is_in_the_cgroup_of_the_container,
    test_output_and_status,
)
from tests.conformance.test_lifecycle import (  # noqa: F401
    test_create_waits_for_start,
    test_run_exits_with_the_status_of_the_process,
    test_state_of_a_stopped_container_has_no_pid,
)
from tests.conformance.test_namespaces import (  # noqa: F401
    test_cgroup_namespace_hides_the_path,
    test_user_namespace_maps_ids,
)
