"""A forked child comes into its cgroups by itself, and what it could not do is left to its parent."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

from crate_runc.cgroup.entrance import Entrance, open_entrance
from crate_runc.errors import CgroupError, StepError
from crate_runc.kernel import namespaces
from crate_runc.process import start
from crate_runc.process.channel import Channel


def _hierarchy(directory: Path, name: str) -> str:
    path = directory / name
    path.mkdir()
    (path / "tasks").write_text("")
    return str(path)


def test_a_process_writes_zero_which_means_itself(tmp_path: Path) -> None:
    others = {_hierarchy(tmp_path, "memory"), _hierarchy(tmp_path, "pids")}
    entrance = open_entrance(None, others)
    entrance.walk_through()
    entrance.close()
    assert [Path(path, "tasks").read_text() for path in others] == ["0", "0"]


def test_descriptors_are_closed_with_it(tmp_path: Path) -> None:
    entrance = open_entrance(str(tmp_path), {_hierarchy(tmp_path, "memory")})
    fds = [entrance.unified, *(fd for fd, _ in entrance.tasks)]
    assert not any(os.get_inheritable(fd) for fd in fds)
    entrance.close()
    entrance.close()
    for fd in fds:
        with pytest.raises(OSError, match=r"Bad file descriptor"):
            os.fstat(fd)


def test_a_missing_cgroup_is_named(tmp_path: Path) -> None:
    with pytest.raises(CgroupError, match=f"join cgroup {tmp_path}/gone: no such file or directory"):
        open_entrance(None, {f"{tmp_path}/gone"})


def test_a_refusal_names_the_cgroup() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(StepError, match=r"join cgroup /c: no space left on device"):
        Entrance(-1, [(full.fileno(), "/c")]).walk_through()


def _say(channel: Channel, is_init: bool) -> NoReturn:
    channel.send(b"init" if is_init else b"forker")
    os._exit(0)


def _heard(child: start.Child) -> bytes:
    message, _ = child.channel.receive()
    child.discard()
    return message


def test_without_a_cgroup_to_be_born_in_there_is_nothing_left_to_join() -> None:
    child = start.fork({}, Entrance(-1, []), _say)
    assert (child.in_cgroup, child.in_unified, child.is_init) == (True, True, False)
    assert _heard(child) == b"forker"


def test_without_an_entrance_the_parent_joins() -> None:
    child = start.fork({}, None, _say)
    assert not child.in_cgroup
    assert _heard(child) == b"forker"


def test_where_no_process_can_be_born_in_the_cgroup_the_parent_joins(tmp_path: Path) -> None:
    """That directory is no cgroup. A filter of system calls that does not know clone3 has the same effect."""
    entrance = open_entrance(str(tmp_path), set())
    with pytest.raises(OSError, match=r"Bad file descriptor|Invalid argument|Function not implemented"):
        namespaces.fork_into(entrance.unified, 0)
    child = start.fork({}, entrance, _say)
    entrance.close()
    assert (child.in_cgroup, child.in_unified) == (True, False)
    assert _heard(child) == b"forker"
