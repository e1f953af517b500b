"""The rules of config.json as tables: OCI runtime-spec 1.3 config.md and config-linux.md, and what of it this runtime can apply.

`config` checks each property for itself, `relations` what concerns several. `vm`, `windows`, `solaris`, `zos` and `freebsd` are other
platforms' and ignored. Rules that need the host (the cgroup mode, the last capability) are with the steps that need them.
"""

from __future__ import annotations

from crate_runc.errors import BundleError, Unsupported
from crate_runc.rules import mounts as mount_rules
from crate_runc.rules import process as process_rules
from crate_runc.rules import resources as resource_rules
from crate_runc.rules.shapes import (
    INT64,
    UINT32,
    absolute,
    boolean,
    fields,
    filled,
    integer,
    list_of,
    map_of,
    one_of,
    passes,
    quoted,
    string,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.rules.shapes import Report

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
NAMESPACES = ("cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts")
PROPAGATIONS = ("private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable")
MAX_MAPPINGS = 340  # user_namespaces(7), since Linux 4.15
_ID = integer((0, UINT32[1] - 1))  # 2^32-1 means "no id" to the kernel

_NAME_MAX, _PATH_MAX = 255, 3840  # of Linux, the latter less what comes before and after


def _version(value: Any, where: str, report: Report) -> None:
    """SemVer 2.0.0, whose major is 1 and minor at most 3; `-dev`, `-rc.1` and `+dev` may follow."""
    text = value if type(value) is str else ""
    numbers = text.partition("+")[0].partition("-")[0].split(".")
    if len(numbers) != 3 or not all(number.isascii() and number.isdigit() for number in numbers):
        report(BundleError(where, f"must be a version like 1.3.0, not {quoted(value)}"))
    elif int(numbers[0]) != 1 or int(numbers[1]) > 3:
        report(Unsupported(where, f"version {text} is not supported; 1.0.0 to 1.3 are"))


def _namespaces(value: Any, where: str, report: Report) -> None:
    _NAMESPACES(value, where, report)
    seen: set[str] = set()
    for index, namespace in enumerate(value if type(value) is list else ()):
        kind = namespace.get("type") if type(namespace) is dict else None
        if type(kind) is str and kind in seen:
            report(BundleError(f"{where}[{index}].type", f'a second "{kind}" namespace'))
        seen.add(str(kind))


def _namespace_path(value: Any, where: str, report: Report) -> None:
    if value != "":
        absolute(value, where, report)


def _id_mappings(value: Any, where: str, report: Report) -> None:
    """No wrap past 2^32 and no overlap on either side; the kernel would refuse both, with nothing but EINVAL."""
    if not passes(_ID_MAPPINGS, value, where, report):
        return
    if len(value) > MAX_MAPPINGS:
        report(BundleError(where, f"{len(value)} mappings; the kernel takes {MAX_MAPPINGS}"))
    for side in ("containerID", "hostID"):
        ranges = sorted((mapping[side], mapping[side] + mapping["size"], index) for index, mapping in enumerate(value))
        last = 0
        for start, end, index in ranges:
            if start < last:
                report(BundleError(f"{where}[{index}].{side}", f"{start} is in another mapping as well"))
            if end > UINT32[1]:
                report(BundleError(f"{where}[{index}].size", "the range ends beyond the last id, 4294967294"))
            last = max(last, end)


def _cgroups_path(value: Any, where: str, report: Report) -> None:
    """One way to write each path: what is checked here is joined to a mount point later."""
    if type(value) is not str:
        string(value, where, report)
    elif ".." in value.split("/"):
        report(BundleError(where, f'must not contain "..": {quoted(value)}'))
    elif any(not (" " <= letter <= "~") for letter in value):
        report(BundleError(where, f"contains a control character or one beyond ASCII: {quoted(value)}"))
    elif len(value) > _PATH_MAX or any(len(name) > _NAME_MAX for name in value.split("/")):
        report(BundleError(where, f"is too long for a directory below /sys/fs/cgroup: {quoted(value)}"))


def _devices(value: Any, where: str, report: Report) -> None:
    _DEVICES(value, where, report)
    for index, device in enumerate(value if type(value) is list else ()):
        if type(device) is not dict or device.get("type") == "p":
            continue
        for name in ("major", "minor"):
            if name not in device:
                report(BundleError(f"{where}[{index}].{name}", "is required for a device that is not a FIFO"))


def _seccomp(value: Any, where: str, report: Report) -> None:
    from crate_runc.seccomp import rules

    rules.check(value, where, report)


def _rare(value: Any, where: str, report: Report) -> None:
    from crate_runc.rules import rare as rare_rules

    rare_rules.PROPERTIES[where.rpartition(".")[2]](value, where, report)


_TIMEOUT = integer((1, INT64[1]))
_HOOK = fields(
    {"path": absolute, "args": list_of(string), "env": list_of(process_rules.variable), "timeout": _TIMEOUT}, required=("path",)
)
_NAMESPACES = list_of(fields({"type": one_of(NAMESPACES), "path": _namespace_path}, required=("type",)))
_MAPPING = {"containerID": integer(UINT32), "hostID": integer(UINT32), "size": integer((1, UINT32[1]))}
_ID_MAPPINGS = list_of(fields(_MAPPING, required=("containerID", "hostID", "size")))
_DEVICE = {
    "type": one_of(("b", "c", "u", "p")),
    "path": absolute,
    "major": integer(UINT32),
    "minor": integer(UINT32),
    "fileMode": integer((0, 0o177777)),  # some writers add the type's bits
    "uid": _ID,
    "gid": _ID,
}
_DEVICES = list_of(fields(_DEVICE, required=("type", "path")))
_LINUX = {
    "namespaces": _namespaces,
    "uidMappings": _id_mappings,
    "gidMappings": _id_mappings,
    "timeOffsets": _rare,
    "devices": _devices,
    "netDevices": _rare,
    "cgroupsPath": _cgroups_path,
    "resources": resource_rules.resources,
    "intelRdt": _rare,
    "memoryPolicy": _rare,
    "sysctl": map_of(string),
    "seccomp": _seccomp,
    "rootfsPropagation": one_of(PROPAGATIONS),
    "maskedPaths": list_of(absolute),
    "readonlyPaths": list_of(absolute),
    "mountLabel": process_rules.label,
    "personality": _rare,
}
config = fields(
    {
        "ociVersion": _version,
        "root": fields({"path": filled, "readonly": boolean}, required=("path",)),
        "mounts": mount_rules.entries(_id_mappings),
        "process": process_rules.process,
        "hostname": string,
        "domainname": string,
        "hooks": fields(dict.fromkeys(HOOKS, list_of(_HOOK))),
        "annotations": map_of(string),
        "linux": fields(_LINUX),
    },
    required=("ociVersion", "root", "process"),
)


def relations(config: dict[str, Any], report: Report) -> None:
    """Rules between properties. Each property has passed `config` for itself."""
    linux = config.get("linux", {})
    namespaces = {namespace["type"]: namespace.get("path") for namespace in linux.get("namespaces", ())}
    if "mount" not in namespaces:
        report(Unsupported("linux.namespaces", "a container without a mount namespace of its own is not supported"))
    for name in ("hostname", "domainname"):
        if config.get(name) and "uts" not in namespaces:
            report(BundleError(name, 'needs a "uts" namespace in linux.namespaces'))
    _mappings_and_namespace(linux, namespaces, report)
    mount_rules.relations(config.get("mounts", ()), linux, "user" in namespaces, report)
    if linux.get("sysctl"):
        from crate_runc.rules import sysctl as sysctl_rules

        sysctl_rules.check(linux["sysctl"], namespaces, report)
    if linux.get("netDevices") and "network" not in namespaces:
        report(BundleError("linux.netDevices", 'needs a "network" namespace in linux.namespaces'))
    if linux.get("timeOffsets") and (namespaces.get("time") or "time" not in namespaces):
        what = "are for a new time namespace, not for one that is joined" if "time" in namespaces else 'need a "time" namespace'
        report(BundleError("linux.timeOffsets", f"{what} in linux.namespaces"))
    if not namespaces.get("user") and "user" in namespaces:
        _mapped_user(config["process"].get("user", {}), linux, report)


def _mappings_and_namespace(linux: dict[str, Any], namespaces: dict[str, str | None], report: Report) -> None:
    for name in ("uidMappings", "gidMappings"):
        if linux.get(name) and "user" not in namespaces:
            report(BundleError(f"linux.{name}", 'needs a "user" namespace in linux.namespaces'))
        elif "user" in namespaces and not namespaces["user"] and not linux.get(name):
            report(BundleError(f"linux.{name}", "is required for a new user namespace"))


def _mapped_user(user: dict[str, Any], linux: dict[str, Any], report: Report) -> None:
    ids = [("uid", user.get("uid", 0), "uidMappings"), ("gid", user.get("gid", 0), "gidMappings")]
    ids += [(f"additionalGids[{index}]", gid, "gidMappings") for index, gid in enumerate(user.get("additionalGids", ()))]
    for name, number, mappings in ids:
        maps = linux.get(mappings, ())
        if maps and not any(m["containerID"] <= number < m["containerID"] + m["size"] for m in maps):
            report(BundleError(f"process.user.{name}", f"{number} is not in linux.{mappings}"))
