"""`features`: its form, and that it promises what the rules take and nothing that they refuse."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import pytest

from crate_runc import check, cli, config, features, spec
from crate_runc.errors import BundleError
from crate_runc.mounts import options as mount_options


def test_its_form_is_that_of_the_spec() -> None:
    assert check.shape(features.make(), "features") == []


def test_it_is_printed_as_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features"]) == 0
    assert json.loads(capfd.readouterr().out) == features.make()


def test_every_namespace_it_names_is_taken() -> None:
    document = spec.make(rootless=True, uid=0, gid=0)
    document["linux"]["namespaces"] = [{"type": kind} for kind in features.make()["linux"]["namespaces"]]
    config.check_config(document)


@pytest.mark.parametrize("version", ["ociVersionMin", "ociVersionMax"])
def test_the_versions_it_names_are_taken(version: str) -> None:
    config.check_config({**spec.make(rootless=False, uid=0, gid=0), "ociVersion": features.make()[version]})


def test_every_hook_it_names_is_known() -> None:
    document = spec.make(rootless=False, uid=0, gid=0)
    document["hooks"] = {name: [{"path": "relative"}] for name in features.make()["hooks"]}
    assert [error.where for error in config.defects(document)] == [f"hooks.{name}[0].path" for name in features.make()["hooks"]]


@pytest.mark.parametrize(
    ("enabled", "path", "value"),
    [
        (("seccomp", "enabled"), ("linux", "seccomp"), {"defaultAction": "SCMP_ACT_ALLOW"}),
        (("apparmor", "enabled"), ("process", "apparmorProfile"), "x"),
        (("selinux", "enabled"), ("process", "selinuxLabel"), "x"),
        (("intelRdt", "enabled"), ("linux", "intelRdt"), {}),
        (("netDevices", "enabled"), ("linux", "netDevices"), {"eth0": {}}),
        (("cgroup", "rdma"), ("linux", "resources"), {"rdma": {"x": {"hcaHandles": 1}}}),
    ],
)
def test_a_section_is_enabled_exactly_if_the_rules_take_it(
    enabled: tuple[str, str], path: tuple[str, str], value: object
) -> None:
    document = copy.deepcopy(spec.make(rootless=False, uid=0, gid=0))
    document[path[0]][path[1]] = value
    try:
        config.check_config(document)
        taken = True
    except BundleError:
        taken = False
    assert features.make()["linux"][enabled[0]][enabled[1]] is taken


@pytest.mark.parametrize(
    ("names", "profile"),
    [
        (
            "actions",
            lambda name: {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/run/listener",
                "syscalls": [{"names": ["read"], "action": name}],
            },
        ),
        ("archs", lambda name: {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [name]}),
        ("knownFlags", lambda name: {"defaultAction": "SCMP_ACT_ALLOW", "flags": [name]}),
        (
            "operators",
            lambda name: {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 0, "op": name}]}],
            },
        ),
    ],
)
def test_every_word_of_seccomp_that_it_names_is_taken(names: str, profile: Callable[[str], object]) -> None:
    found = features.make()["linux"]["seccomp"][names]
    assert found
    for name in found:
        document = copy.deepcopy(spec.make(rootless=False, uid=0, gid=0))
        document["linux"]["seccomp"] = profile(name)
        config.check_config(document)


def test_recursive_read_only_is_named_for_those_who_ask_for_it() -> None:
    assert "rro" in features.make()["mountOptions"]


def test_no_mount_option_that_it_names_is_left_to_the_file_system() -> None:
    for word in features.make()["mountOptions"]:
        assert mount_options.parse([word]).text == "", word


@pytest.mark.parametrize("word", ["size=1m", "mode=755", "acl", "uid=0", "xyz"])
def test_a_mount_option_that_it_does_not_name_is(word: str) -> None:
    assert word not in features.make()["mountOptions"]
    assert mount_options.parse([word]).text == word


def test_every_mount_option_that_it_names_is_taken_by_check() -> None:
    for word in features.make()["mountOptions"]:
        document = spec.make(rootless=False, uid=0, gid=0)
        bound = {"destination": "/mnt", "type": "bind", "source": "/x", "options": ["bind", word]}
        if word == "tmpcopyup":
            bound = {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": [word]}
        if word in ("idmap", "ridmap"):
            bound |= {key: [{"containerID": 0, "hostID": 1000, "size": 1}] for key in ("uidMappings", "gidMappings")}
        document["mounts"].append(bound)
        assert [str(error) for error in check.document(document)] == [], word


def test_every_capability_it_names_is_taken() -> None:
    document = spec.make(rootless=False, uid=0, gid=0)
    document["process"]["capabilities"] = {"bounding": features.make()["linux"]["capabilities"]}
    assert check.document(document) == []


@pytest.mark.parametrize(("names", "key"), [("modes", "mode"), ("flags", "flags")])
def test_every_word_of_a_memory_policy_that_it_names_is_taken_and_no_other(names: str, key: str) -> None:
    def policy(word: str) -> dict[str, object]:
        if key == "flags":
            return {"mode": "MPOL_BIND", "nodes": "0", "flags": [word]}
        return {"mode": word} if word in ("MPOL_DEFAULT", "MPOL_LOCAL") else {"mode": word, "nodes": "0"}

    document = spec.make(rootless=False, uid=0, gid=0)
    for word in [*features.make()["linux"]["memoryPolicy"][names], "MPOL_BOGUS"]:
        document["linux"]["memoryPolicy"] = policy(word)
        assert bool(config.defects(document)) is (word == "MPOL_BOGUS"), word


def test_the_document_has_every_part_that_the_specification_knows() -> None:
    linux = features.make()["linux"]
    assert set(linux) == {
        "namespaces",
        "capabilities",
        "cgroup",
        "seccomp",
        "apparmor",
        "selinux",
        "intelRdt",
        "memoryPolicy",
        "mountExtensions",
        "netDevices",
    }
    assert set(linux["cgroup"]) == {"v1", "v2", "systemd", "systemdUser", "rdma"}
    assert set(linux["intelRdt"]) == {"enabled", "schemata", "monitoring"}
    assert set(linux["memoryPolicy"]) == {"modes", "flags"}
    assert set(features.make()) >= {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "annotations"}
    assert "org.systemd.property." in features.make()["potentiallyUnsafeConfigAnnotations"]
