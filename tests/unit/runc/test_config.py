"""Every rule of config.json: the JSON path and the words of the first defect, and what is Unsupported rather than wrong."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from crate_runc import config, spec
from crate_runc.errors import BundleError, Unsupported


def base(rootless: bool = False) -> dict[str, Any]:
    return copy.deepcopy(spec.make(rootless=rootless, uid=1000, gid=1000))


def put(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """`linux.namespaces[0].type`; a value of ... removes the member."""
    target: Any = document
    parts = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", path)]
    for part in parts[:-1]:
        target = target.setdefault(part, {}) if isinstance(target, dict) else target[part]
    if value is ...:
        del target[parts[-1]]
    elif isinstance(target, list) and parts[-1] == len(target):
        target.append(value)
    else:
        target[parts[-1]] = value
    return document


def write(tmp_path: Path, document: Any) -> str:
    (tmp_path / "config.json").write_text(json.dumps(document))
    return str(tmp_path)


WRONG = [
    ("ociVersion", ..., "ociVersion: is required"),
    ("ociVersion", "1.0", 'ociVersion: must be a version like 1.3.0, not "1.0"'),
    ("ociVersion", "1.²0.0", "ociVersion: must be a version"),
    ("ociVersion", 1, "ociVersion: must be a version"),
    ("root", ..., "root: is required"),
    ("root.path", "", "root.path: must be a string that is not empty"),
    ("root.readonly", 1, "root.readonly: must be true or false, not 1"),
    ("process", ..., "process: is required"),
    ("process", [], "process: must be an object, not []"),
    ("process.args", ..., "process.args: is required"),
    ("process.args", [], "process.args: must name a program"),
    ("process.args[0]", 3, "process.args[0]: must be a string, not 3"),
    ("process.cwd", "home", 'process.cwd: must be an absolute path, not "home"'),
    ("process.env[0]", "NOVALUE", 'process.env[0]: must be NAME=VALUE, not "NOVALUE"'),
    ("process.env[1]", "=x", "process.env[1]: must be NAME=VALUE"),
    ("process.terminal", "yes", "process.terminal: must be true or false"),
    ("process.user.uid", -1, "process.user.uid: must be from 0 to 4294967294, not -1"),
    ("process.user.uid", 2**32 - 1, "process.user.uid: must be from 0 to 4294967294"),
    ("process.user.uid", True, "process.user.uid: must be a whole number, not true"),
    ("process.user.gid", 1.0, "process.user.gid: must be a whole number, not 1.0"),
    ("process.user.umask", 512, "process.user.umask: must be from 0 to 511, not 512"),
    ("process.user.additionalGids", [1, "2"], "process.user.additionalGids[1]: must be a whole number"),
    ("process.consoleSize", {"height": 1}, "process.consoleSize.width: is required"),
    ("process.rlimits[0].type", "RLIMIT_FOO", 'process.rlimits[0].type: unknown "RLIMIT_FOO"; known: RLIMIT_AS'),
    ("process.rlimits[1]", {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 1}, "process.rlimits[1].type: RLIMIT_NOFILE appears twice"),
    ("process.rlimits[0].soft", 2048, "process.rlimits[0].soft: 2048 is more than the hard limit 1024"),
    ("process.rlimits[0].hard", 2**64, "process.rlimits[0].hard: must be from 0 to"),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj: must be from -1000 to 1000, not 1001"),
    ("process.capabilities.bounding", "CAP_CHOWN", "process.capabilities.bounding: must be a list"),
    ("hostname", 5, "hostname: must be a string, not 5"),
    ("mounts[0].destination", ..., "mounts[0].destination: is required"),
    ("mounts", {}, "mounts: must be a list, not {}"),
    ("mounts[1].options[0]", 1, "mounts[1].options[0]: must be a string"),
    ("hooks", {"poststop": [{"path": "rm"}]}, 'hooks.poststop[0].path: must be an absolute path, not "rm"'),
    ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout: must be from 1 to"),
    ("annotations", {"a.b": 1}, 'annotations["a.b"]: must be a string, not 1'),
    ("annotations", {"": "x"}, "annotations: a name is empty"),
    ("linux.namespaces[2].type", "foo", 'linux.namespaces[2].type: unknown "foo"; known: cgroup, ipc, mount'),
    ("linux.namespaces[5]", {"type": "pid"}, 'linux.namespaces[5].type: a second "pid" namespace'),
    ("linux.namespaces[1].path", "run/x", 'linux.namespaces[1].path: must be an absolute path, not "run/x"'),
    ("linux.maskedPaths[0]", "proc/kcore", "linux.maskedPaths[0]: must be an absolute path"),
    ("linux.readonlyPaths", "x", "linux.readonlyPaths: must be a list"),
    ("linux.rootfsPropagation", "mine", 'linux.rootfsPropagation: unknown "mine"'),
    ("linux.cgroupsPath", "/a/../../b", 'linux.cgroupsPath: must not contain "..": "/a/../../b"'),
    ("linux.cgroupsPath", "a\nb", "linux.cgroupsPath: contains a control character"),
    ("linux.cgroupsPath", "/" + "n" * 256, "linux.cgroupsPath: is too long"),
    ("linux.cgroupsPath", "/n" * 2000, "linux.cgroupsPath: is too long"),
    ("linux.devices", [{"type": "x", "path": "/dev/x"}], 'linux.devices[0].type: unknown "x"; known: b, c, p, u'),
    ("linux.devices", [{"type": "c", "path": "/dev/x", "major": 1}], "linux.devices[0].minor: is required for a device"),
    ("linux.devices", [{"type": "p", "path": "x"}], "linux.devices[0].path: must be an absolute path"),
    ("linux.resources.devices", [{"access": "rwm"}], "linux.resources.devices[0].allow: is required"),
    ("linux.resources.devices", [{"allow": True}], "linux.resources.devices[0].access: is required where something is allowed"),
    ("linux.resources.devices", [{"allow": False, "access": "rx"}], "linux.resources.devices[0].access: must be made of the letters"),
    ("linux.resources.pids", {"limit": "5"}, "linux.resources.pids.limit: must be a whole number"),
    ("linux.resources.memory", {"limit": -2}, "linux.resources.memory.limit: must be from -1 to"),
    ("linux.resources.memory", {"swappiness": 101}, "linux.resources.memory.swappiness: must be from 0 to 100"),
    ("linux.resources.cpu", {"cpus": "0;1"}, "linux.resources.cpu.cpus: must be a list like 0-3,7"),
    ("linux.resources.cpu", {"idle": 2}, "linux.resources.cpu.idle: must be from 0 to 1"),
    ("linux.resources.unified", {"../x.y": "1"}, 'linux.resources.unified: "../x.y" is not a file of a cgroup controller'),
    ("linux.resources.unified", {"cgroup.procs": "1"}, "is not a file of a cgroup controller"),
    ("linux.resources.blockIO", [], "linux.resources.blockIO: must be an object, not []"),
    ("linux.resources.network", [], "linux.resources.network: must be an object, not []"),
    ("linux.resources.rdma", [], "linux.resources.rdma: must be an object, not []"),
    ("linux.resources.unified", [], "linux.resources.unified: must be an object, not []"),
    ("linux.resources.hugepageLimits", {}, "linux.resources.hugepageLimits: must be a list, not {}"),
    ("linux.resources.blockIO", {"weight": 5}, "linux.resources.blockIO.weight: must be from 10 to 1000, not 5"),
    ("linux.resources.blockIO", {"weight": 70000}, "linux.resources.blockIO.weight: must be from 0 to 65535"),
    ("linux.resources.blockIO", {"leafWeight": 1001}, "linux.resources.blockIO.leafWeight: must be from 10 to 1000, not 1001"),
    ("linux.resources.blockIO", {"weightDevice": [{"major": 8, "minor": 0}]}, "blockIO.weightDevice[0]: must have a weight or"),
    ("linux.resources.blockIO", {"weightDevice": [{"minor": 0, "weight": 10}]}, "blockIO.weightDevice[0].major: is required"),
    ("linux.resources.blockIO", {"throttleWriteBpsDevice": [{"major": 8, "minor": 0}]}, "Device[0].rate: is required"),
    ("linux.resources.blockIO", {"throttleReadIOPSDevice": [{"major": -1, "minor": 0, "rate": 1}]}, "Device[0].major: must be from 0"),
    ("linux.resources.hugepageLimits", [{"pageSize": "../2MB", "limit": 1}], "hugepageLimits[0].pageSize: must be the size of a huge"),
    ("linux.resources.hugepageLimits", [{"pageSize": "2MB"}], "linux.resources.hugepageLimits[0].limit: is required"),
    ("linux.resources.network", {"classID": -1}, "linux.resources.network.classID: must be from 0 to 4294967295"),
    ("linux.resources.network", {"priorities": [{"name": "a b", "priority": 1}]}, "priorities[0].name: must be the name of a network"),
    ("linux.resources.network", {"priorities": [{"name": "eth0"}]}, "priorities[0].priority: is required"),
    ("linux.resources.rdma", {"mlx": {}}, "linux.resources.rdma.mlx: must have hcaHandles or hcaObjects"),
    ("linux.resources.rdma", {"mlx\nx": {"hcaHandles": 1}}, "must be a name without spaces"),
    ("linux.sysctl", {"kernel.panic": "1"}, 'linux.sysctl["kernel.panic"]: this kernel parameter belongs to the host'),
    ("linux.sysctl", {"kernel.hostname": "x"}, "use the property hostname"),
    ("linux.sysctl", {"net.ipv4/../../kernel/x": "1"}, "not the name of a kernel parameter"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 0, "size": 1}], 'linux.uidMappings: needs a "user" namespace'),
    ("process.scheduler", {}, "process.scheduler.policy: is required"),
    ("process.scheduler", {"policy": "SCHED_NORMAL"}, 'process.scheduler.policy: unknown "SCHED_NORMAL"; known: SCHED_BATCH'),
    ("process.scheduler", {"policy": "SCHED_BATCH", "nice": 20}, "process.scheduler.nice: must be from -20 to 19 for SCHED_BATCH"),
    ("process.scheduler", {"policy": "SCHED_OTHER", "nice": -21}, "process.scheduler.nice: must be from -20 to 19"),
    ("process.scheduler", {"policy": "SCHED_IDLE", "priority": 1}, "process.scheduler.priority: is for SCHED_FIFO and SCHED_RR alone"),
    ("process.scheduler", {"policy": "SCHED_FIFO", "runtime": 1}, "process.scheduler.runtime: is for SCHED_DEADLINE alone"),
    ("process.scheduler", {"policy": "SCHED_FIFO", "flags": ["X"]}, 'process.scheduler.flags[0]: unknown "X"'),
    ("process.ioPriority", {"priority": 1}, "process.ioPriority.class: is required"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_NONE"}, "process.ioPriority.class: unknown"),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority: must be from 0 to 7"),
    ("process.execCPUAffinity", {"initial": "0-"}, "process.execCPUAffinity.initial: must be a list like 0-3,7"),
    ("process.execCPUAffinity", {"final": "3-1"}, "process.execCPUAffinity.final: must be a list like 0-3,7"),
    ("process.execCPUAffinity", {"final": "0-99999"}, "process.execCPUAffinity.final: must be a list like 0-3,7"),
    ("process.execCPUAffinity", {"final": 1}, "process.execCPUAffinity.final: must be a list like 0-3,7"),
    ("linux.timeOffsets", {"boottime": {"secs": 1}}, 'linux.timeOffsets: need a "time" namespace'),
    ("linux.timeOffsets", {"realtime": {"secs": 1}}, "linux.timeOffsets.realtime: unknown clock; known: monotonic, boottime"),
    ("linux.timeOffsets", {"boottime": {"nanosecs": 10**9}}, "linux.timeOffsets.boottime.nanosecs: must be from 0 to 999999999"),
    ("linux.memoryPolicy", {}, "linux.memoryPolicy.mode: is required"),
    ("linux.memoryPolicy", {"mode": "INTERLEAVE"}, 'linux.memoryPolicy.mode: unknown "INTERLEAVE"'),
    ("linux.memoryPolicy", {"mode": "MPOL_DEFAULT", "nodes": "0-7"}, "linux.memoryPolicy.nodes: MPOL_DEFAULT takes no nodes"),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND"}, "linux.memoryPolicy.nodes: MPOL_BIND needs at least one node"),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0-9876543210"}, "linux.memoryPolicy.nodes: must be a list"),
    ("linux.memoryPolicy", {"mode": "MPOL_LOCAL", "flags": ["badflag"]}, 'linux.memoryPolicy.flags[0]: unknown "badflag"'),
    ("process.capabilities", {"effective": ["CAP_KILL"]}, "process.capabilities.effective[0]: CAP_KILL is not in process.capabilities.permitted"),
    ("process.capabilities", {"bounding": [""]}, "process.capabilities.bounding[0]: must be a string that is not empty"),
    ("process.capabilities", {"bounding": "CAP_KILL"}, "process.capabilities.bounding: must be a list"),
    ("process.apparmorProfile", "a\nb", "process.apparmorProfile: must be a string without control characters"),
    ("process.selinuxLabel", "a\0b", "process.selinuxLabel: must be a string without control characters"),
    ("process.selinuxLabel", 1, "process.selinuxLabel: must be a string"),
    ("linux.personality", {}, "linux.personality.domain: is required"),
    ("linux.netDevices", {"": {}}, "linux.netDevices: a name is empty"),
    ("linux.netDevices", {"a/b": {}}, 'linux.netDevices["a/b"]: not the name of a network interface'),
    ("linux.netDevices", {"sixteen-letters-": {}}, "not the name of a network interface"),
    ("linux.netDevices", {"eth%d": {}}, "not the name of a network interface"),
    ("linux.netDevices", {"eth0": {"name": "a b"}}, "linux.netDevices.eth0.name: must be the name of a network interface"),
    ("linux.netDevices", {"eth0": {"name": "eth%s"}}, "linux.netDevices.eth0.name: must be the name of a network interface"),
    ("linux.netDevices", {"eth0": {"name": "%d%d"}}, "linux.netDevices.eth0.name: must be the name of a network interface"),
    ("linux.netDevices", {"eth0": {"name": ".."}}, "linux.netDevices.eth0.name: must be the name of a network interface"),
    ("linux.netDevices", {"a": {"name": "x"}, "b": {"name": "x"}}, 'linux.netDevices.b: another device is called "x" inside'),
    ("linux.intelRdt", {"closID": ".."}, "linux.intelRdt.closID: must be the name of a directory"),
    ("linux.intelRdt", {"closID": "a/b"}, "linux.intelRdt.closID: must be the name of a directory"),
    ("linux.intelRdt", {"memBwSchema": "L3:0=1"}, "linux.intelRdt.memBwSchema: must be one line that starts with MB:"),
    ("linux.intelRdt", {"schemata": ["L3:0=1\nMB:0=1"]}, "linux.intelRdt.schemata[0]: must be one line"),
    ("linux.intelRdt", {"enableMBM": True}, "linux.intelRdt.enableMBM: runtime-spec 1.3 took this away"),
    ("linux.personality", {"domain": "linux32"}, 'linux.personality.domain: unknown "linux32"; known: LINUX, LINUX32'),
    ("linux.personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, "linux.personality.flags: runtime-spec defines no flag"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{path}-{index}" for index, (path, _, _) in enumerate(WRONG)])
def test_the_first_defect_is_named_by_its_path(path: str, value: Any, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        config.check_config(put(base(), path, value))
    assert message in str(caught.value)
    assert not isinstance(caught.value, Unsupported)
    assert str(caught.value).startswith(caught.value.where)


UNSUPPORTED = [
    ("ociVersion", "2.0.0"),
    ("ociVersion", "1.4.0"),
]


@pytest.mark.parametrize(("path", "value"), UNSUPPORTED, ids=[f"{path}-{index}" for index, (path, _) in enumerate(UNSUPPORTED)])
def test_what_cannot_be_applied_is_refused_and_not_ignored(path: str, value: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        config.check_config(put(base(), path, value))
    assert caught.value.where.startswith(path.split("[")[0])


RIGHT = [
    ("ociVersion", "1.0.2-dev"),
    ("ociVersion", "1.3.0+dev"),
    ("ociVersion", "1.2.0-rc.1"),
    ("process.user", ...),
    ("process.apparmorProfile", ""),
    ("process.unknownProperty", {"x": 1}),
    ("process.rlimits", []),
    ("mounts[0].destination", "relative"),
    ("windows", {"layerFolders": 1}),
    ("vm", {}),
    ("linux.resources.blockIO", {"weight": 0}),
    ("linux.resources.network", {}),
    ("linux.resources.blockIO", {"weight": 10, "leafWeight": 1000, "weightDevice": [{"major": 8, "minor": 0, "weight": 500}]}),
    ("linux.resources.blockIO", {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}),
    ("linux.resources.hugepageLimits", [{"pageSize": "64KB", "limit": 0}, {"pageSize": "1GB", "limit": 1 << 63}]),
    ("linux.resources.network", {"classID": 1048577, "priorities": [{"name": "eth0", "priority": 500}]}),
    ("linux.resources.rdma", {"mlx5_1": {"hcaHandles": 3}, "rxe3": {"hcaObjects": 0}}),
    ("linux.resources.unified", {"cgroup.max.depth": "3", "io.max": "8:0 rbps=1\n8:16 rbps=1"}),
    ("linux.netDevices", {"eth0": {}, "eth1.100": {"name": "in%d"}, "wlan0": {"name": ""}}),
    ("process.capabilities", {"effective": ["CAP_NEW"], "permitted": ["CAP_NEW"], "ambient": ["CAP_CHOWN"]}),
    ("process.apparmorProfile", "docker-default"),
    ("process.selinuxLabel", "system_u:system_r:container_t:s0:c1,c2"),
    ("linux.intelRdt", {}),
    ("linux.intelRdt", {"closID": "/", "l3CacheSchema": "L3:0=f", "schemata": ["L2:0=1"], "enableMonitoring": True}),
    ("linux.personality", {"domain": "LINUX", "flags": []}),
    ("linux.memoryPolicy", {"mode": "MPOL_PREFERRED"}),
    ("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0-3,7", "flags": ["MPOL_F_STATIC_NODES"]}),
    ("linux.timeOffsets", {}),
    ("process.scheduler", {"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
    ("process.ioPriority", {"class": "IOPRIO_CLASS_IDLE"}),
    ("process.execCPUAffinity", {"initial": "0-3,7", "final": ""}),
    ("linux.rootfsPropagation", "rslave"),
    ("linux.namespaces[1].path", ""),
    ("linux.namespaces[1].path", "/run/netns/blue"),
    (
        "linux.sysctl",
        {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1", "fs.mqueue.msg_max": "10", "net/ipv4/conf/eth0.100/forwarding": "1"},
    ),
    (
        "linux.devices",
        [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 0o20644}, {"type": "p", "path": "/x"}],
    ),
]


@pytest.mark.parametrize(("path", "value"), RIGHT, ids=[f"{path}-{index}" for index, (path, _) in enumerate(RIGHT)])
def test_accepts(path: str, value: Any) -> None:
    config.check_config(put(base(), path, value))


def test_the_user_is_root_where_none_is_written() -> None:
    document = put(base(), "process.user", ...)
    config.check_config(document)
    assert document["process"]["user"] == {"uid": 0, "gid": 0}


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        ([(0, 1000, 0)], "linux.uidMappings[0].size: must be from 1"),
        ([(0, 1000, 1), (0, 2000, 1)], "linux.uidMappings[1].containerID: 0 is in another mapping as well"),
        ([(0, 1000, 10), (20, 1005, 10)], "linux.uidMappings[1].hostID: 1005 is in another mapping as well"),
        ([(0, 0, 100), (200, 200, 1), (50, 300, 1)], "linux.uidMappings[2].containerID: 50"),
        ([(0, 100, 2**32 - 1)], "linux.uidMappings[0].size: the range ends beyond"),
        ([(2**32 - 2, 0, 2)], "linux.uidMappings[0].size: the range ends beyond"),
        ([(n, n, 1) for n in range(341)], "linux.uidMappings: 341 mappings; the kernel takes 340"),
        ([(5, 5, 1)], "process.user.uid: 0 is not in linux.uidMappings"),
        ([], "linux.uidMappings: is required for a new user namespace"),
    ],
)
def test_wrong_id_maps_are_refused(mappings: list[tuple[int, int, int]], message: str) -> None:
    document = base(rootless=True)
    document["linux"]["uidMappings"] = [
        {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in mappings
    ]
    with pytest.raises(BundleError, match=re.escape(message)):
        config.check_config(document)


@pytest.mark.parametrize(
    "mappings", [[(0, 0, 2**32 - 1)], [(0, 1000, 1), (1, 100000, 65536)], [(n, n * 2, 1) for n in range(340)]]
)
def test_right_id_maps_are_taken(mappings: list[tuple[int, int, int]]) -> None:
    document = base(rootless=True)
    document["linux"]["uidMappings"] = [
        {"containerID": inside, "hostID": outside, "size": size} for inside, outside, size in mappings
    ]
    config.check_config(document)


def test_a_joined_user_namespace_needs_no_maps() -> None:
    document = base(rootless=True)
    document["linux"]["namespaces"][-1]["path"] = "/proc/1/ns/user"
    del document["linux"]["uidMappings"], document["linux"]["gidMappings"]
    config.check_config(document)


@pytest.mark.parametrize(
    ("missing", "where"),
    [
        ("uts", "hostname"),
        ("mount", "linux.namespaces"),
        ("ipc", 'linux.sysctl["kernel.sem"]'),
        ("network", 'linux.sysctl["net.core.x"]'),
    ],
)
def test_properties_need_their_namespace(missing: str, where: str) -> None:
    document = base()
    document["linux"]["sysctl"] = {"kernel.sem": "1", "net.core.x": "1"}
    document["linux"]["namespaces"] = [entry for entry in document["linux"]["namespaces"] if entry["type"] != missing]
    with pytest.raises(BundleError) as caught:
        config.check_config(document)
    assert caught.value.where == where


def test_all_defects_are_found_at_once() -> None:
    document = put(put(put(base(), "process.cwd", "x"), "hostname", 1), "mounts[0].destination", "")
    assert {error.where for error in config.defects(document)} == {"process.cwd", "hostname", "mounts[0].destination"}


def test_a_process_of_exec_is_checked_by_the_same_rules() -> None:
    process: dict[str, Any] = {"args": ["true"], "cwd": "/"}
    config.check_process(process)
    assert process["user"] == {"uid": 0, "gid": 0}
    with pytest.raises(BundleError, match=r"^process.cwd: must be an absolute path"):
        config.check_process({"args": ["true"], "cwd": "."})
    with pytest.raises(BundleError, match=r"^process.apparmorProfile: must be a string without control characters"):
        config.check_process({"args": ["true"], "cwd": "/", "apparmorProfile": "x\n"})


def test_load_gives_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, base())
    monkeypatch.chdir(tmp_path)
    bundle = config.load(".")
    assert (bundle.path, bundle.rootfs) == (str(tmp_path), str(tmp_path / "rootfs"))
    assert bundle.config["hostname"] == "runc"
    write(tmp_path, put(base(), "root.path", "/srv/root"))
    assert config.load(str(tmp_path)).rootfs == "/srv/root"


def test_a_bundle_without_config_is_not_told_in_words_that_mean_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"config.json not found$") as caught:
        config.load(str(tmp_path))
    assert "no such file" not in str(caught.value)
    with pytest.raises(BundleError, match="not a directory"):
        config.load(str(tmp_path / "missing"))


def test_a_text_that_is_no_json_is_told_with_file_and_place(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{\n "a": 1,\n}')
    with pytest.raises(BundleError, match=r"config.json: not JSON at line \d, column \d"):
        config.load(str(tmp_path))
