from __future__ import annotations

from typing import Any

import pytest

from crate_runc.mounts import mapping as mount_mapping

USERS = [{"containerID": 0, "hostID": 1000, "size": 1}, {"containerID": 1, "hostID": 100000, "size": 1000}]
GROUPS = [{"containerID": 0, "hostID": 2000, "size": 10}]


def _range(disk: int, seen: int, count: int) -> dict[str, int]:
    return {"containerID": disk, "hostID": seen, "size": count}


def test_ids_on_disk_are_seen_as_others() -> None:
    users, groups = mount_mapping.parse("uids=0-1000-1#1-2000-10;gids=5-6-7", USERS, GROUPS)
    assert users == [_range(0, 1000, 1), _range(1, 2000, 10)]
    assert groups == [_range(5, 6, 7)]


def test_a_side_that_is_not_named_is_the_containers_own() -> None:
    assert mount_mapping.parse("uids=0-1-1", USERS, GROUPS)[1] == GROUPS


def test_relative_ids_are_those_of_the_container() -> None:
    users, _ = mount_mapping.parse("uids=@5-3-10", USERS, GROUPS)
    assert users == [_range(5, 100002, 10)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "uids",
        "uids=",
        "uids=1-2",
        "uids=1-2-3-4",
        "uids=-1-2-3",
        "uids=1-2-0",
        "uids=1-4294967290-10",
        "uids=a-b-c",
        "uids=1-2-99999999999",
        "users=0-1-1",
        "uids=0-1-1;",
        "uids=@0-5000-1",
        "uids=@0-0-2",
        "uids=\u0661-2-3",
    ],
)
def test_a_text_that_says_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        mount_mapping.parse(text, USERS, GROUPS)


def test_a_side_that_nobody_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="gids are not mapped"):
        mount_mapping.parse("uids=0-1-1", [], [])


@pytest.mark.parametrize(
    ("entry", "linux", "expected"),
    [
        ({"uidMappings": USERS, "gidMappings": GROUPS}, {}, (USERS, GROUPS)),
        ({}, {"uidMappings": USERS, "gidMappings": GROUPS}, (USERS, GROUPS)),
        ({"uidMappings": GROUPS, "gidMappings": USERS}, {"uidMappings": USERS, "gidMappings": GROUPS}, (GROUPS, USERS)),
        ({}, {}, None),
    ],
)
def test_where_the_mapping_comes_from(entry: dict[str, Any], linux: dict[str, Any], expected: object) -> None:
    assert mount_mapping.of_entry(entry, "", linux) == expected
