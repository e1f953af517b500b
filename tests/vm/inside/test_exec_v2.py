"""exec on pure cgroup v2: born in the container's cgroup, or in one below it, or where its first process is. Of three runtimes, as root."""

from __future__ import annotations

import secrets
from pathlib import Path

from tests.conformance.test_exec import (  # noqa: F401
    identity,
    sub_cgroups,
    test_detached_with_a_pid_file,
    test_in_a_cgroup_below_the_containers,
    test_in_a_paused_container_it_waits_where_that_is_asked_for,
    test_in_a_user_namespace,
    test_many_at_once,
    test_process_document,
)
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime

OWN_CGROUP = {"type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "rw"]}


def test_a_cgroup_that_takes_no_process_is_left_for_that_of_init(runtime: OciRuntime, bundle: Bundle) -> None:
    """What systemd in a container does: its processes are below, and controllers are given to those, so that none may be beside them."""
    name = f"ct-{secrets.token_hex(4)}"
    bundle.linux["cgroupsPath"] = f"/{name}"
    bundle.namespace("cgroup").mount("/sys/fs/cgroup", **OWN_CGROUP)
    bundle.script(
        "cd /sys/fs/cgroup && mkdir init && echo $$ > init/cgroup.procs && echo +pids +memory > cgroup.subtree_control && exec sleep 1000"
    )
    own = Path("/sys/fs/cgroup", name)
    with runtime.running(bundle) as container:
        eventually(lambda: (own / "cgroup.subtree_control").read_text().strip(), "the container has cgroups of its own")
        assert runtime.exec(container, "cat", "/proc/self/cgroup").out == "0::/init\n"


def test_a_limit_of_processes_counts_it_from_its_birth(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["resources"]["pids"] = {"limit": 12}
    with runtime.running(bundle.runs("sleep", "1000")) as container:
        script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 10 & done; echo all"
        result = runtime.exec(container, "sh", "-c", script, status=None)
        assert "can't fork" in result.err
        assert "all" not in result.out
