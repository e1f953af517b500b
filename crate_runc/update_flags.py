"""What `crate-runc update` is told, by flags or as a LinuxResources object of the OCI runtime-spec, as one checked `linux.resources`.

The flags are runc's. Where there is an object the flags are ignored, but for those of Intel RDT, which the object does not know.
"""

from __future__ import annotations

import os

from crate_runc import strict_json
from crate_runc.errors import BundleError, RuncError, UsageError, reason
from crate_runc.rules import resources as resource_rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]

# flag: (section of linux.resources, property, whether the value is a size)
FLAGS = {
    "blkio-weight": ("blockIO", "weight", False),
    "cpu-burst": ("cpu", "burst", False),
    "cpu-idle": ("cpu", "idle", False),
    "cpu-period": ("cpu", "period", False),
    "cpu-quota": ("cpu", "quota", False),
    "cpu-rt-period": ("cpu", "realtimePeriod", False),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime", False),
    "cpu-share": ("cpu", "shares", False),
    "kernel-memory": ("memory", "kernel", True),
    "kernel-memory-tcp": ("memory", "kernelTCP", True),
    "memory": ("memory", "limit", True),
    "memory-reservation": ("memory", "reservation", True),
    "memory-swap": ("memory", "swap", True),
    "pids-limit": ("pids", "limit", False),
}
_TEXTS = {"cpuset-cpus": "cpus", "cpuset-mems": "mems"}
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}


def resources(values: Values) -> dict[str, Any]:
    """Raises UsageError for a flag, BundleError for a property, RuncError for a file that cannot be read."""
    given = _read(values["resources"]) if values.get("resources") else _from_flags(values)
    resource_rules.resources(given, "linux.resources", _fail)
    return given


def _fail(error: BundleError) -> None:
    raise error


def _read(path: str) -> Any:
    try:
        fd = 0 if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with open(fd, "rb", closefd=fd != 0) as file:
            raw = file.read(strict_json.MAX_BYTES + 1)
    except OSError as error:
        raise RuncError(f"read resources {path}: {reason(error)}") from None
    try:
        return strict_json.loads(raw)
    except strict_json.JSONError as error:
        raise RuncError(f"read resources {path}: {error}") from None


def _from_flags(values: Values) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for flag, (section, name, is_size) in FLAGS.items():
        if values.get(flag):
            given.setdefault(section, {})[name] = size_of(flag, values[flag]) if is_size else _number(flag, values[flag])
    for flag, name in _TEXTS.items():
        if values.get(flag):
            given.setdefault("cpu", {})[name] = values[flag]
    return given


def _number(flag: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
        raise UsageError(f'invalid value "{text}" for --{flag}: not a whole number')
    return int(text)


def size_of(flag: str, text: str) -> int:
    """`64m`, `1.5 GiB`, `4096`, `-1`: bytes, with units of 1024."""
    number = text.lower()
    if number == "-1":
        return -1
    number = number.removesuffix("b").removesuffix("i") if number[-3:-2].isalpha() else number.removesuffix("b")
    unit = number[-1:] if number[-1:].isalpha() else ""
    whole, _, fraction = number.removesuffix(unit).removesuffix(" ").partition(".")
    digits = whole + fraction
    if unit not in _UNITS or not (whole and digits.isascii() and digits.isdigit()) or len(digits) > 20:
        raise UsageError(f'invalid value "{text}" for --{flag}: not a size such as 512m or 1.5g')
    return int((int(digits) << _UNITS[unit]) // 10 ** len(fraction))
