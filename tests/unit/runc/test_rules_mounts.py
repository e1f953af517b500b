"""What config.json may say of mounts, and which bind mounts the parent clones."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from crate_runc import config, plan, spec
from crate_runc.errors import StepError
from crate_runc.host import HostFacts
from crate_runc.mounts import sources as mount_sources

MAPPING = [{"containerID": 0, "hostID": 1000, "size": 1}]


def _defects(entry: dict[str, Any], *, user_namespace: bool = False) -> list[str]:
    document = copy.deepcopy(spec.make(rootless=user_namespace, uid=0, gid=0))
    document["mounts"] = [{"destination": "/mnt", **entry}]
    return [str(error) for error in config.defects(document)]


@pytest.mark.parametrize(
    "entry",
    [
        {"type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "size=1k", "rro"]},
        {"type": "bind", "source": "/a", "options": ["rbind", "rro", "rnosuid", "rslave"]},
        {"type": "bind", "source": "/a", "options": ["src-nofollow", "dest-nofollow"]},
        {"type": "none", "source": "/a", "options": ["bind", "copy-symlink"]},
        {"type": "bind", "source": "/a", "uidMappings": MAPPING, "gidMappings": MAPPING},
        {"type": "bind", "source": "/a", "options": ["idmap=uids=0-1-1;gids=0-1-1"]},
        {"options": ["remount", "ro"]},
        {"type": "tmpfs", "options": ["remount", "size=2k"]},
        {"type": "overlay", "source": "overlay", "options": ["lowerdir=/a", "upperdir=/b", "workdir=/c"]},
        {"type": "bind", "source": "/a", "uidMappings": [], "gidMappings": []},
    ],
)
def test_mounts_that_can_be_made_are_taken(entry: dict[str, Any]) -> None:
    assert _defects(entry) == []


@pytest.mark.parametrize(
    ("entry", "defect"),
    [
        ({"source": "/a"}, "mounts[0].type: is required for a mount that is not a bind mount"),
        (
            {"type": "bind", "source": "/a", "options": ["ro", "uid=5"]},
            'mounts[0].options: bind mounts cannot have any filesystem-specific options applied: "uid=5"',
        ),
        ({"type": "tmpfs", "options": ["copy-symlink"]}, "mounts[0].options: copy-symlink is for a bind mount"),
        ({"type": "tmpfs", "options": ["src-nofollow"]}, "mounts[0].options: src-nofollow is for a bind mount"),
        ({"type": "bind", "options": ["tmpcopyup"]}, "mounts[0].options: tmpcopyup is for a mount of type tmpfs"),
        ({"type": "ext4", "options": ["tmpcopyup"]}, "mounts[0].options: tmpcopyup is for a mount of type tmpfs"),
        (
            {"type": "tmpfs", "uidMappings": MAPPING, "gidMappings": MAPPING},
            "mounts[0]: id-mapped mounts are only supported for bind-mounts",
        ),
        ({"type": "bind", "uidMappings": MAPPING}, "mounts[0].gidMappings: is required beside uidMappings"),
        ({"type": "bind", "gidMappings": MAPPING}, "mounts[0].uidMappings: is required beside gidMappings"),
        (
            {"type": "bind", "options": ["idmap"]},
            'mounts[0].options: idmap without mappings needs a "user" namespace in linux.namespaces, whose mapping it takes',
        ),
        (
            {"type": "bind", "options": ["ridmap=uids=0-1"], "source": "/a"},
            "mounts[0].options: idmap=uids=0-1: '0-1' is not three numbers like 0-1000-1",
        ),
        (
            {"type": "bind", "options": ["idmap=uids=0-1-1"], "uidMappings": MAPPING, "gidMappings": MAPPING},
            "mounts[0].options: idmap= and uidMappings both say how ids are mapped",
        ),
        (
            {"type": "bind", "options": ["remount"], "uidMappings": MAPPING, "gidMappings": MAPPING},
            "mounts[0].options: an idmapped mount is a new one: neither remount nor copy-symlink go with it",
        ),
        (
            {"type": "bind", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 0}], "gidMappings": MAPPING},
            "mounts[0].uidMappings[0].size: must be from 1 to 4294967295, not 0",
        ),
        ({"type": "bind", "options": "ro"}, 'mounts[0].options: must be a list, not "ro"'),
    ],
)
def test_mounts_that_cannot_be_made_are_refused(entry: dict[str, Any], defect: str) -> None:
    assert _defects(entry) == [defect]


def test_the_mapping_of_the_containers_user_namespace_can_be_taken_over() -> None:
    assert _defects({"type": "bind", "options": ["idmap"]}, user_namespace=True) == []


def _config(mounts: list[dict[str, Any]], *kinds: str) -> dict[str, Any]:
    return {"mounts": mounts, "linux": {"namespaces": [{"type": kind} for kind in kinds]}}


MOUNTS: list[dict[str, Any]] = [
    {"destination": "/proc", "type": "proc"},
    {"destination": "/a", "type": "bind", "source": "/a"},
    {"destination": "/b", "source": "/b", "options": ["rbind", "idmap"]},
    {"destination": "/c", "type": "bind", "options": ["remount", "ro"]},
]


def test_sources_of_a_user_namespace_are_cloned_by_the_parent_where_it_is_root() -> None:
    config = _config(MOUNTS, "mount", "user")
    assert plan.sources(config, HostFacts(euid=0)) == [("source", "2"), ("source", "1")]
    assert plan.sources(config, HostFacts(euid=1000)) == [("source", "2")]


def test_without_a_user_namespace_only_idmapped_sources_are() -> None:
    assert plan.sources(_config(MOUNTS, "mount"), HostFacts(euid=0)) == [("source", "2")]
    assert plan.sources(_config(MOUNTS[:2], "mount"), HostFacts(euid=0)) == []


def test_more_descriptors_than_a_message_takes_are_an_error() -> None:
    config = _config([{"destination": "/a", "type": "bind", "source": "/"}] * 200, "mount", "user")
    with pytest.raises(StepError, match="200 bind mounts in a user namespace"):
        mount_sources.open_all(plan.sources(config, HostFacts(euid=0)), config, "/bundle")
