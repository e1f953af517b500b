"""crate_engine.system.userns and process: real namespaces, made by the calling user."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from crate_engine.errors import CrateError, HostError, LayerError
from crate_engine.system import process, userns
from crate_engine.system.userns import UserNamespace


def own_id_only() -> UserNamespace:
    return UserNamespace("single", ((0, os.geteuid(), 1),), ((0, os.getegid(), 1),), "test")


def probe() -> None:
    try:
        userns.run(own_id_only(), lambda: None)
    except HostError as error:
        pytest.skip(f"user namespaces: {error}")


def test_single_mode_maps_only_the_own_id() -> None:
    probe()
    ids = userns.run(own_id_only(), lambda: [os.getuid(), os.getegid(), Path("/proc/self/uid_map").read_text().split()])
    assert ids == [0, 0, ["0", str(os.geteuid()), "1"]]


def test_single_mode_denies_supplementary_groups() -> None:
    probe()
    with pytest.raises(PermissionError):
        userns.run(own_id_only(), lambda: os.setgroups([]))


def test_range_mode_maps_the_subordinate_ids() -> None:
    chosen = userns.choose()
    if chosen.mode != "range":
        pytest.skip(f"a user with subordinate ids and newuidmap: mode is {chosen.mode} {chosen.reason}")
    lines = userns.run(chosen, lambda: Path("/proc/self/uid_map").read_text().splitlines())
    assert [tuple(map(int, line.split())) for line in lines] == list(chosen.uid_map)  # type: ignore[attr-defined]

    def groups() -> list[int]:
        os.setgroups([1, 2])
        return sorted(os.getgroups())

    assert userns.run(chosen, groups) == [1, 2]


def test_error_of_the_function_arrives_with_its_type_and_hint() -> None:
    probe()

    def fail() -> None:
        raise LayerError("unpack layer: no", hint="pull again")

    with pytest.raises(LayerError, match="unpack layer: no") as caught:
        userns.run(own_id_only(), fail)
    assert caught.value.hint == "pull again"


def test_host_that_allows_no_user_namespaces_is_told_with_the_command_that_does() -> None:
    probe()

    def try_below() -> list[str]:
        Path("/proc/sys/user/max_user_namespaces").write_text("0")  # this namespace's own limit
        try:
            userns.enter(UserNamespace("single", ((0, 0, 1),), ((0, 0, 1),)))
        except HostError as error:
            return [str(error), error.hint or ""]
        return []

    told = userns.run(own_id_only(), try_below)
    assert isinstance(told, list)
    assert told[0] == "make a user namespace: their limit is reached"
    assert "sysctl -w user.max_user_namespaces" in told[1]


def test_killed_child_is_an_error_and_not_a_result() -> None:
    probe()
    with pytest.raises(CrateError, match="was killed"):
        userns.run(own_id_only(), lambda: os.kill(os.getpid(), signal.SIGKILL))


def test_join_enters_the_namespace_of_another_process() -> None:
    probe()
    reading, writing = os.pipe()

    def hold() -> int:
        os.write(writing, b"x")
        signal.pause()
        return 0

    pid = userns.fork(own_id_only(), hold)
    try:
        os.read(reading, 1)
        theirs = os.readlink(f"/proc/{pid}/ns/user")
        assert theirs != os.readlink("/proc/self/ns/user")
        assert userns.run_joined(pid, lambda: [os.getuid(), os.readlink("/proc/self/ns/user")]) == [0, theirs]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)


def test_join_of_a_process_that_is_gone_says_so() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        userns.join(pid)


def test_ranges_are_found_by_name_and_number_and_bad_lines_are_passed_over(tmp_path: Path) -> None:
    name = userns._user_name(os.getuid())
    file = tmp_path / "subuid"
    file.write_text(f"other:1:2\n{name}:100:10\n{os.getuid()}:300:5\n{name}:x:5\n{name}:\n{name}:7:0\n{name}:\u0661:9\n")
    assert userns._ranges(str(file), os.getuid()) == [(100, 10), (300, 5)]


def test_missing_subuid_file_has_no_ranges(tmp_path: Path) -> None:
    assert userns._ranges(str(tmp_path / "absent"), os.getuid()) == []


def test_maps_are_stacked_after_the_own_id() -> None:
    assert userns._stack(1000, [(100, 10), (300, 5)]) == ((0, 1000, 1), (1, 100, 10), (11, 300, 5))


def test_record_keeps_the_maps() -> None:
    before = UserNamespace("range", ((0, 1000, 1), (1, 100000, 65536)), ((0, 1000, 1),), "why")
    after = UserNamespace.from_record(before.to_record())
    assert (after.mode, after.uid_map, after.gid_map, after.reason) == (before.mode, before.uid_map, before.gid_map, "why")


def test_start_time_tells_a_process_from_its_successor() -> None:
    assert process.start_time(os.getpid()) == process.start_time(os.getpid()) != process.start_time(1)
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    assert process.start_time(pid) is None
