"""The class of cache and memory bandwidth of a container that is there: what `events` prints of it, and what `update` changes in it.

The resctrl file system is that of the kernel's document "User Interface for Resource Control feature"; the names of the figures are runc's.
"""

from __future__ import annotations

import os

from crate_runc.errors import CgroupError, UsageError, reason
from crate_runc.steps.intel_rdt import Class, root_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Figures = dict[str, Any]

FLAGS = {"l3-cache-schema": ("L3", "l3CacheSchema"), "mem-bw-schema": ("MB", "memBwSchema")}
_INFO = {
    "L3": ("l3_cache_info", ("cbm_mask", "min_cbm_bits", "num_closids")),
    "MB": ("mem_bw_info", ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")),
}
_SCHEMA = {"L3": "l3_cache_schema", "MB": "mem_bw_schema"}


def mounted_at() -> str:
    """Raises BundleError where resctrl is not mounted."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return root_of(file.read())


def figures(wanted: Figures, container_id: str, root: str) -> Figures:
    """`wanted` is linux.intelRdt. What the processor cannot do is left out."""
    group = Class(wanted, container_id)
    directory = group.directory(root)
    lines = _lines(f"{directory}/schemata")
    found: Figures = {}
    for resource, (name, files) in _INFO.items():
        if os.path.isdir(f"{root}/info/{resource}"):
            values = {file: _value(f"{root}/info/{resource}/{file}", is_text=file == "cbm_mask") for file in files}
            found[name] = {file: value for file, value in values.items() if value}
            found[f"{_SCHEMA[resource]}_root"] = _of(resource, _lines(f"{root}/schemata"))
            found[_SCHEMA[resource]] = _of(resource, lines)
    found["schemata"] = lines
    monitored = group.monitoring_directory(root) if group.monitor else directory
    return {name: value for name, value in {**found, **_monitored(root, monitored)}.items() if value}


def _monitored(root: str, directory: str) -> Figures:
    """Per domain of a cache, in the order of their numbers."""
    features = _lines(f"{root}/info/L3_MON/mon_features")
    try:
        domains = sorted(os.listdir(f"{directory}/mon_data"))
    except OSError:
        return {}
    kinds = {"mbm_stats": ("mbm_total_bytes", "mbm_local_bytes"), "cmt_stats": ("llc_occupancy",)}
    return {
        name: [{file: _value(f"{directory}/mon_data/{domain}/{file}") for file in files} for domain in domains]
        for name, files in kinds.items()
        if any(file in features for file in files)
    }


def _value(path: str, *, is_text: bool = False) -> Any:
    """A processor may have no figure at the moment ("Unavailable")."""
    text = "".join(_lines(path)[:1])
    return text if is_text else int(text) if text.isdigit() else 0


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii") as file:
            return [line.strip() for line in file.read().splitlines() if line.strip()]
    except OSError:
        return []


def _of(resource: str, lines: list[str]) -> str:
    return next((line for line in lines if line.partition(":")[0] == resource), "")


def changed(config: Figures, values: dict[str, Any]) -> Figures | None:
    """linux.intelRdt as the flags of `update` change it; None where they do not. Raises UsageError."""
    given = {name: values[flag] for flag, (_, name) in FLAGS.items() if values.get(flag)}
    if not given:
        return None
    if "intelRdt" not in config.get("linux", {}):
        raise UsageError("updating a non-existent Intel RDT configuration is not supported")
    return {**config["linux"]["intelRdt"], **given}


def write(wanted: Figures, container_id: str, root: str) -> None:
    """The schemata of `wanted` that flags can name. Raises UsageError for what the processor has not, CgroupError for what the kernel refuses."""
    directory = Class(wanted, container_id).directory(root)
    for flag, (resource, name) in FLAGS.items():
        if not wanted.get(name):
            continue
        if not os.path.isdir(f"{root}/info/{resource}"):
            raise UsageError(f"--{flag}: {root} has no {resource}: this processor cannot do it, or it is not enabled")
        try:
            with open(f"{directory}/schemata", "r+b", buffering=0) as file:
                file.write(f"{wanted[name]}\n".encode())
        except OSError as error:
            raise CgroupError(f"linux.intelRdt.{name}: write {wanted[name]} to {directory}/schemata: {reason(error)}") from None
