"""A part of the conformance tests, now of three runtimes: what differs most between hosts."""

from __future__ import annotations

from tests.conformance.test_lifecycle import (  # noqa: F401
    test_create_waits_for_start,
    test_run_exits_with_the_status_of_the_process,
    test_state_of_a_stopped_container_has_no_pid,
)
