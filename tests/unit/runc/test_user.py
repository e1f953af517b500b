from __future__ import annotations

from typing import Any

import pytest

from crate_runc.kernel import capability
from crate_runc.steps import user


def _text(process: dict[str, Any], last: int = 40) -> list[str]:
    return [step.describe() for step in user.plan(process, last)]


def test_no_capabilities_in_config_are_none() -> None:
    assert _text({"user": {"uid": 0, "gid": 0}}) == ["become user 0:0, without capabilities"]


def test_sets_are_what_config_names_and_nothing_more() -> None:
    sets = {"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"]}
    assert _text({"user": {}, "capabilities": sets}) == [
        "become user 0:0, capabilities: bounding CHOWN,KILL; effective KILL; permitted KILL"
    ]


@pytest.mark.parametrize("name", ["CAP_NOSUCH", "CAP_CHECKPOINT_RESTORE"])
def test_what_the_kernel_does_not_know_is_passed_over(name: str) -> None:
    assert _text({"user": {}, "capabilities": {"bounding": [name]}}, last=39) == ["become user 0:0, capabilities: none"]


def test_stdio_is_given_to_a_user_who_is_not_root() -> None:
    assert _text({"user": {"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27}, "noNewPrivileges": True}) == [
        "set umask 0027",
        "give pipes and the terminal at stdin, stdout and stderr to user 5",
        "become user 5:6 groups 7 8, without capabilities",
        "set no_new_privs",
    ]


def test_names_are_in_the_order_of_their_numbers() -> None:
    assert capability.NAMES[0] == "CAP_CHOWN"
    assert capability.NAMES[21] == "CAP_SYS_ADMIN"
    assert capability.NUMBER_OF["CAP_CHECKPOINT_RESTORE"] == len(capability.NAMES) - 1 == 40


def test_own_sets_are_what_proc_says() -> None:
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if line.startswith("Cap"))
    assert capability.get() == tuple(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh"))
