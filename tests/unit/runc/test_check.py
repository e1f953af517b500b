"""`check`: all defects at once, by their paths; and the schemas that it uses."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crate_runc import check, cli, config, spec, strict_json
from crate_runc.errors import BundleError
from crate_runc.state.record import ContainerState
from tests.support import broken_configs
from tests.support.runtime import default_config

SYSCALL: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


def base() -> dict[str, Any]:
    return copy.deepcopy(spec.make(rootless=False, uid=0, gid=0))


@pytest.mark.parametrize("name", ["config", "state", "features"])
def test_the_schemas_are_valid_and_closed_in_themselves(name: str) -> None:
    schema = check.load_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    references = {part.split('"')[0] for part in json.dumps(schema).split('"$ref": "')[1:]}
    assert {reference.removeprefix("#/$defs/") for reference in references} <= set(schema.get("$defs", {}))
    assert all(reference.startswith("#/$defs/") for reference in references)
    assert set(schema.get("$defs", {})) <= {reference.removeprefix("#/$defs/") for reference in references}


def test_all_defects_of_shape_rules_and_support_are_told_at_once() -> None:
    document = base()
    del document["ociVersion"]
    document["process"]["cwd"] = "x"
    document["linux"]["namespaces"].append({"type": "pid"})
    document["linux"]["seccomp"] = {"defaultAction": "FOO", "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}
    document["linux"]["resources"]["hugepageLimits"] = [{"pageSize": "2mb"}]
    document["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 8}
    assert [error.where for error in check.document(document)] == [
        "linux.namespaces[5].type",
        "linux.resources.hugepageLimits[0].limit",
        "linux.resources.hugepageLimits[0].pageSize",
        "linux.seccomp.defaultAction",
        "linux.seccomp.syscalls[0].names",
        "ociVersion",
        "process.cwd",
        "process.ioPriority.priority",
    ]


def test_texts_name_the_value_and_what_it_should_be() -> None:
    document = base()
    document["linux"]["resources"]["hugepageLimits"] = [{"pageSize": "2mb", "limit": -1}]
    texts = [str(error) for error in check.document(document)]
    assert 'linux.resources.hugepageLimits[0].pageSize: must be the size of a huge page, like 2MB, not "2mb"' in texts
    assert "linux.resources.hugepageLimits[0].limit: must be from 0 to 18446744073709551615, not -1" in texts


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("timeOffsets", {"realtime": {}}),
        ("netDevices", {"eth0": {"name": "a" * 16}}),
        ("netDevices", {"a/b": {}}),
        ("intelRdt", {"closID": "a/b"}),
        ("intelRdt", {"memBwSchema": "L3:0=f"}),
        ("memoryPolicy", {"nodes": "0"}),
        ("personality", {"domain": "BSD"}),
        ("seccomp", {"architectures": []}),
        ("seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
        ("seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{**SYSCALL, "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}),
        ("resources", {"blockIO": {"weightDevice": [{"major": 1, "minor": 1}]}}),
        ("resources", {"rdma": {"mlx": {}}}),
        ("resources", {"blockIO": {"weight": 9}}),
        ("resources", {"blockIO": {"leafWeight": 1001}}),
        ("resources", {"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 1}]}}),
        ("resources", {"hugepageLimits": [{"pageSize": "02MB", "limit": 1}]}),
        ("resources", {"network": {"priorities": [{"name": "eth0"}]}}),
        ("devices", [{"type": "c", "path": "/dev/x"}]),
    ],
)  # fmt: skip
def test_the_shape_is_checked_of_what_is_not_supported_too(section: str, value: Any) -> None:
    document = base()
    document["linux"][section] = value
    assert [error.where for error in check.shape(document, "config") if error.where.startswith(f"linux.{section}")]


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("timeOffsets", {"boottime": {"secs": -1, "nanosecs": 5}}),
        ("netDevices", {"eth0": {"name": "net%d"}, "eth1": {}}),
        ("intelRdt", {"closID": "/", "l3CacheSchema": "L3:0=f", "schemata": ["MB:0=5"], "enableMonitoring": True}),
        ("memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"]}),
        ("personality", {"domain": "LINUX32", "flags": []}),
        (
            "seccomp",
            {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "architectures": ["SCMP_ARCH_X86_64"], "flags": []},
        ),
        ("resources", {"blockIO": {"weight": 10, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]}}),
    ],
)
def test_right_shapes_are_right(section: str, value: Any) -> None:
    document = base()
    document["linux"][section] = value
    assert check.shape(document, "config") == []


def test_what_the_rules_take_has_the_right_shape() -> None:
    """So that `check` never finds fault with a bundle that `create` takes: what the rules know is no narrower than the schema."""
    document = base()
    document["process"]["user"] = {"uid": 2**32 - 2, "gid": 0, "umask": 0o777, "additionalGids": [0]}
    document["process"]["capabilities"]["bounding"] = ["CAP_NEW_ONE"]
    document["linux"]["devices"] = [{"type": "u", "path": "/dev/x", "major": 2**32 - 1, "minor": 0, "fileMode": 0o177777}]
    document["linux"]["resources"] = {
        "devices": [{"allow": True, "type": "a", "major": -1, "minor": -1, "access": "r"}],
        "memory": {"limit": -1, "swap": -1, "swappiness": 0},
        "cpu": {"cpus": "0, 2-3", "idle": 1, "quota": -1},
        "pids": {"limit": -1},
        "unified": {"io.max": "x"},
        "blockIO": {
            "weight": 0,
            "leafWeight": 10,
            "weightDevice": [{"major": 0, "minor": 2**32 - 1, "weight": 1000, "leafWeight": 0}],
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 2**64 - 1}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}],
        },
        "hugepageLimits": [{"pageSize": "64KB", "limit": 2**64 - 1}],
        "network": {"classID": 2**32 - 1, "priorities": [{"name": "a" * 15, "priority": 0}]},
        "rdma": {"mlx5_1": {"hcaHandles": 0}, "x": {"hcaObjects": 2**32 - 1}},
    }
    document["linux"]["namespaces"][0]["path"] = ""
    document["windows"] = {"anything": None}
    assert config.defects(document) == []
    assert check.shape(document, "config") == []


def test_state_json_has_the_form_of_its_schema() -> None:
    state = ContainerState(
        id="c", bundle="/b", rootfs="/b/r", config={}, owner=0, created="2026-01-02T03:04:05.678Z", phase="running", pid=5
    )
    for status in ("creating", "created", "running", "stopped"):
        assert check.shape(state.as_state_json(status), "state") == []
    assert [error.where for error in check.shape({**state.as_state_json("running"), "pid": 0}, "state")] == ["pid"]


def test_the_command_prints_a_line_for_each_and_says_so_by_its_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(base()))
    assert cli.main(["check", str(tmp_path)]) == 0
    assert capfd.readouterr().out == ""
    file.write_text(json.dumps({**base(), "hostname": 1, "mounts": [{}]}))
    assert cli.main(["check", str(tmp_path)]) == 1
    assert capfd.readouterr().out.splitlines() == ["hostname: must be a string, not 1", "mounts[0].destination: is required"]


def test_a_bundle_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="not found"):
        check.bundle(str(tmp_path))
    with pytest.raises(BundleError, match="not a directory"):
        check.bundle(str(tmp_path / "no"))


def test_a_null_is_no_member_here_either(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**base(), "hooks": None, "hostname": None}))
    assert check.bundle(str(tmp_path)) == []


def test_works_as_the_launcher_starts_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(base()))
    main = Path(cli.__file__).parent / "__main__.py"
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(main), "check", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", [name for name in broken_configs.names() if name != "document"])
def test_what_create_refuses_is_among_the_defects(name: str) -> None:
    """The whole corpus: `check` and `create` never disagree, and neither fails in another way."""
    for entry in broken_configs.load(name):
        value = strict_json.loads(broken_configs.document(entry, default_config()))
        try:
            config.check_config(copy.deepcopy(value))
        except BundleError as error:
            assert str(error) in map(str, check.document(value)), broken_configs.describe(entry)
        else:
            check.document(value)
