from __future__ import annotations

import copy
from typing import Any

import pytest

from crate_runc import plan, spec
from crate_runc.config import Bundle
from crate_runc.host import HostFacts


def _config(*, rootless: bool = False, **process: Any) -> dict[str, Any]:
    config = copy.deepcopy(spec.make(rootless=rootless, uid=1000, gid=1000))
    config["process"].update({"terminal": False, **process})
    return config


def _plan(config: dict[str, Any], facts: HostFacts | None = None, **options: Any) -> plan.Plan:
    bundle = Bundle("/bundle", config, "/bundle/rootfs")
    return plan.make(bundle, facts or HostFacts(), plan.Options(container_id="c", **options))


def _texts(steps: Any) -> list[str]:
    return [step.describe() for step in steps]


def _index(texts: list[str], start: str) -> int:
    return next(index for index, text in enumerate(texts) if text.startswith(start))


def test_the_same_bundle_gives_the_same_text() -> None:
    assert _plan(_config()).render() == _plan(_config()).render()


def test_the_user_namespace_is_made_before_the_pid_namespace() -> None:
    assert _texts(_plan(_config(rootless=True), HostFacts(euid=1000, egid=1000)).begin) == [
        "make a new namespace of each kind: user",
        "make a new namespace of each kind: pid",
    ]


def test_an_ordinary_user_maps_himself_without_a_program() -> None:
    prepare = _texts(_plan(_config(rootless=True), HostFacts(euid=1000, egid=1000)).prepare)
    assert prepare[0] == "write the id maps: users 0→1000×1; groups 0→1000×1; deny setgroups"


def test_an_ordinary_user_maps_a_range_with_newuidmap() -> None:
    config = _config(rootless=True)
    config["linux"]["uidMappings"].append({"containerID": 1, "hostID": 100000, "size": 65536})
    prepare = _texts(_plan(config, HostFacts(euid=1000, egid=1000)).prepare)
    assert prepare[0].startswith("run newuidmap and newgidmap: users 0→1000×1, 1→100000×65536")


def test_a_joined_user_namespace_gets_no_maps() -> None:
    config = _config(rootless=True)
    next(entry for entry in config["linux"]["namespaces"] if entry["type"] == "user")["path"] = "/proc/1/ns/user"
    assert not any("maps" in text for text in _texts(_plan(config, HostFacts(euid=0)).prepare))


def test_the_cgroup_is_awaited_right_before_the_mount_that_shows_it() -> None:
    setup = _texts(_plan(_config()).setup)
    awaited = _index(setup, "wait until the parent has moved")
    assert setup[awaited + 1].startswith("bind the container's cgroup on /sys/fs/cgroup")


def test_the_cgroup_namespace_is_made_inside_the_cgroup() -> None:
    config = _config()
    config["linux"]["namespaces"].append({"type": "cgroup"})
    setup = _texts(_plan(config).setup)
    assert _index(setup, "wait until the parent") < _index(setup, "make a new namespace of each kind: cgroup")


def test_masks_are_opened_before_anything_of_the_container_is_mounted_and_used_before_the_root_switch() -> None:
    """Where the kernel lacks detached mounts, they hang in a place that goes away with the old root."""
    made = _plan(_config())
    setup, enter = _texts(made.setup), _texts(made.enter)
    assert _index(setup, "open the host's /dev/null") < _index(setup, "mount proc on /proc")
    assert _index(enter, "mask /proc/kcore") < _index(enter, "make / read-only") < _index(enter, "pivot_root")


def test_create_container_hooks_run_before_the_root_switch_and_start_container_hooks_after_the_gate() -> None:
    config = _config()
    config["hooks"] = {"createContainer": [{"path": "/a"}], "startContainer": [{"path": "/b"}]}
    made = _plan(config)
    enter, launch = _texts(made.enter), _texts(made.launch)
    assert _index(enter, "run the createContainer hook /a") < _index(enter, "pivot_root")
    assert _index(launch, "tell the parent") < _index(launch, "run the startContainer hook /b") < _index(launch, "execve")


def test_a_missing_program_is_found_out_before_the_container_counts_as_created() -> None:
    launch = _texts(_plan(_config()).launch)
    assert _index(launch, "find the program") < _index(launch, "tell the parent")


def test_privileges_are_dropped_before_the_container_waits() -> None:
    launch = _texts(_plan(_config()).launch)
    assert _index(launch, "become user") < _index(launch, "set no_new_privs") < _index(launch, "tell the parent")


@pytest.mark.parametrize(("no_new_privileges", "last"), [(True, True), (False, False)])
def test_the_filter_comes_last_where_it_needs_no_privileges(no_new_privileges: bool, last: bool) -> None:
    config = _config(noNewPrivileges=no_new_privileges)
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW"}
    launch = _texts(_plan(config).launch)
    installed = _index(launch, "install the seccomp filter")
    assert (installed == len(launch) - 2) is last
    assert (installed > _index(launch, "become user")) is last


def test_the_parent_sets_rlimits_for_a_child_in_a_user_namespace() -> None:
    made = _plan(_config(rootless=True), HostFacts(euid=1000, egid=1000))
    assert _texts(made.attach)[0].startswith("set the child's rlimits")
    assert not any(text.startswith("set rlimits") for text in _texts(made.launch))


def test_devices_are_bound_in_a_user_namespace() -> None:
    assert "bind the host's /dev/null on /dev/null" in _texts(_plan(_config(rootless=True)).setup)
    assert "make device /dev/null c 1:3 0666" in _texts(_plan(_config()).setup)


def test_a_new_sysfs_is_not_tried_where_the_network_namespace_is_not_ours() -> None:
    config = _config(rootless=True)
    sys = next(entry for entry in config["mounts"] if entry["destination"] == "/sys")
    sys.update({"type": "sysfs", "source": "sysfs", "options": ["ro"]})
    assert "rbind the host's /sys on /sys: ro" in _texts(_plan(config).setup)


def test_a_bound_dev_is_left_as_it_is() -> None:
    config = _config()
    dev = next(entry for entry in config["mounts"] if entry["destination"] == "/dev")
    dev.update({"type": "bind", "source": "/dev", "options": ["rbind"]})
    assert not any(text.startswith("make device") for text in _texts(_plan(config).setup))


def test_no_pivot_moves_the_root() -> None:
    assert "move rootfs over / and chroot into it" in _texts(_plan(_config(), no_pivot=True).enter)


def test_a_process_without_user_is_root() -> None:
    config = _config()
    del config["process"]["user"]
    assert any(text.startswith("become user 0:0") for text in _texts(_plan(config).launch))


def test_the_two_processes_agree_on_what_is_opened() -> None:
    config = _config()
    next(entry for entry in config["linux"]["namespaces"] if entry["type"] == "network")["path"] = "/run/netns/n"
    options = plan.Options(console_socket="/run/console.sock")
    assert plan.needs(config, options, create=True) == [
        ("console", "/run/console.sock"),
        ("namespace", "/run/netns/n"),
        ("gate", ""),
    ]
    assert plan.needs(config, options, create=False) == [("console", "/run/console.sock")]


def test_exec_walks_the_same_launch_steps_but_for_the_gate() -> None:
    config = _config()
    made = plan.make_exec(config["process"], config, HostFacts(), plan.Options(container_id="c"))
    of_exec, of_create = _texts(made.launch), _texts(_plan(config).launch)
    gate = [text for text in of_create if text.startswith("tell the parent")]
    awaited = [text for text in of_exec if text.startswith("wait until the parent")]
    assert [text for text in of_exec if text not in awaited] == [text for text in of_create if text not in gate]
