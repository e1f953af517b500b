"""The process object of exec: the container's own, changed by flags as runc changes it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from crate_runc import exec_process
from crate_runc.errors import BundleError, UsageError

OWN: dict[str, Any] = {
    "terminal": True,
    "user": {"uid": 5, "gid": 6, "additionalGids": [7]},
    "args": ["sh"],
    "env": ["PATH=/bin"],
    "cwd": "/work",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": [], "inheritable": ["CAP_KILL"]},
    "noNewPrivileges": True,
    "oomScoreAdj": 5,
}


def make(*arguments: str, **values: Any) -> dict[str, Any]:
    before = copy.deepcopy(OWN)
    process = exec_process.make(OWN, {name.replace("_", "-"): value for name, value in values.items()}, list(arguments))
    assert before == OWN
    return process


def test_only_arguments_and_terminal_change_without_flags() -> None:
    assert make("ls", "-l") == {**OWN, "args": ["ls", "-l"], "terminal": False}


def test_each_flag_changes_its_property() -> None:
    process = make("x", tty=True, cwd="/", env=["A=1"], no_new_privs=False, user="8:9", additional_gids=["10", "11"])
    assert (process["terminal"], process["cwd"], process["noNewPrivileges"]) == (True, "/", False)
    assert process["env"] == ["PATH=/bin", "A=1"]
    assert process["user"] == {"uid": 8, "gid": 9, "additionalGids": [7, 10, 11]}


def test_labels_come_from_their_flags() -> None:
    process = make("x", apparmor="profile", process_label="a_u:b_r:c_t:s0")
    assert (process["apparmorProfile"], process["selinuxLabel"]) == ("profile", "a_u:b_r:c_t:s0")


def test_what_a_file_does_not_say_is_the_containers(tmp_path: Path) -> None:
    own = {
        **OWN,
        "user": {"uid": 5, "gid": 6, "umask": 0o27},
        "apparmorProfile": "profile",
        "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        "scheduler": {"policy": "SCHED_BATCH"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["x"], "cwd": "/", "user": {"uid": 1, "gid": 1}, "scheduler": {"policy": "SCHED_IDLE"}}))
    process = exec_process.make(own, {"process": str(file)}, [])
    assert process["scheduler"] == {"policy": "SCHED_IDLE"}
    assert {name: process[name] for name in ("apparmorProfile", "rlimits", "ioPriority")} == {
        name: own[name] for name in ("apparmorProfile", "rlimits", "ioPriority")
    }
    assert process["user"] == {"uid": 1, "gid": 1, "umask": 0o27}
    assert "capabilities" not in process and "oomScoreAdj" not in process


def test_a_user_without_a_group_keeps_the_containers_group() -> None:
    assert make("x", user="0")["user"] == {"uid": 0, "gid": 6, "additionalGids": [7]}


def test_capabilities_are_added_to_all_sets_but_the_inheritable_one() -> None:
    sets = make("x", cap=["CAP_CHOWN"])["capabilities"]
    assert sets == {
        "bounding": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_CHOWN"],
        "inheritable": ["CAP_KILL"],
        "permitted": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN"],
    }


@pytest.mark.parametrize(
    "user",
    ["root", "-1", "+1", "1_0", "0x1", "４", "1:", ":1", "1:1:1", "4294967295", "4294967296", " 1", "1 ", "1\n", "01234567890"],
)
def test_what_is_no_number_of_a_user_is_never_another_user(user: str) -> None:
    with pytest.raises(UsageError, match="--user"):
        make("x", user=user)


def test_a_group_must_be_a_number_too() -> None:
    with pytest.raises(UsageError, match="--additional-gids"):
        make("x", additional_gids=["audio"])


def test_a_file_replaces_all_and_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "process.json"
    file.write_text(json.dumps({"args": ["id"], "cwd": "/", "user": {"uid": 1}}))
    assert make(process=str(file)) == {"args": ["id"], "cwd": "/", "user": {"uid": 1, "gid": 0}}
    file.write_text(json.dumps({"args": ["id"], "cwd": "x"}))
    with pytest.raises(BundleError, match=r"^process.cwd: must be an absolute path"):
        make(process=str(file))
    with pytest.raises(BundleError, match=r"missing\.json not found"):
        make(process=str(tmp_path / "missing.json"))


def test_a_wrong_variable_is_refused() -> None:
    with pytest.raises(BundleError, match=r"^process.env\[1\]: must be NAME=VALUE"):
        make("x", env=["NAME"])


def test_a_program_is_needed() -> None:
    with pytest.raises(UsageError, match="name a program to run, or a file with --process"):
        make()
