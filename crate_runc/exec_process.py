"""The `process` object of `exec`: the one in a file, or the container's own with what the flags of the command line change.

As with runc, the container's arguments, terminal and nothing else are replaced; `--cap` adds, `--env` appends. The text comes from the state,
so what the bundle says now does not matter.
"""

from __future__ import annotations

from crate_runc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Process = dict[str, Any]

_FROM_CONTAINER = ("apparmorProfile", "selinuxLabel", "rlimits", "scheduler", "ioPriority", "execCPUAffinity")
_CHECKED = {"apparmor", "cap", "cwd", "env", "process-label"}  # flags whose values the rules of config.json are about
_MAX_ID = (1 << 32) - 2


def make(own: Process, values: dict[str, Any], arguments: list[str]) -> Process:
    """Checked. `own`, which create has checked, is not changed. Raises UsageError and BundleError."""
    if "process" not in values:
        if not arguments:
            raise UsageError("exec: name a program to run, or a file with --process")
        process = from_flags(own, values, arguments)
        if not values.keys() & _CHECKED:
            return process
    from crate_runc import config

    if "process" in values:
        process = completed(config.read_json(values["process"]), own)
    config.check_process(process)
    return process


def completed(process: Any, own: Process) -> Any:
    """A process from a file: what it does not say of these properties is the container's, as with runc. Any other text is left to the rules."""
    if type(process) is not dict:
        return process
    user = process.get("user", {})
    if type(user) is dict and "umask" in own.get("user", {}):
        user = {"umask": own["user"]["umask"], **user}
    kept = {name: own[name] for name in _FROM_CONTAINER if own.get(name) and not process.get(name)}
    return {**process, **kept, **({"user": user} if user else {})}


def from_flags(own: Process, values: dict[str, Any], arguments: list[str]) -> Process:
    process: Process = {**own, "args": arguments, "terminal": values.get("tty", False)}
    if values.get("cwd"):
        process["cwd"] = values["cwd"]
    if "env" in values:
        process["env"] = [*own.get("env", ()), *values["env"]]
    if "no-new-privs" in values:
        process["noNewPrivileges"] = values["no-new-privs"]
    for flag, name in (("apparmor", "apparmorProfile"), ("process-label", "selinuxLabel")):
        if values.get(flag):
            process[name] = values[flag]
    if "cap" in values:
        sets = own.get("capabilities", {})
        added = {name: [*sets.get(name, ()), *values["cap"]] for name in ("bounding", "effective", "permitted", "ambient")}
        process["capabilities"] = {**sets, **added}
    user = dict(own.get("user", {}))
    if values.get("user"):
        uid, colon, gid = values["user"].partition(":")
        user["uid"] = _id(uid, "--user")
        if colon:
            user["gid"] = _id(gid, "--user")
    if "additional-gids" in values:
        user["additionalGids"] = [
            *user.get("additionalGids", ()),
            *(_id(gid, "--additional-gids") for gid in values["additional-gids"]),
        ]
    process["user"] = user
    return process


def _id(text: str, flag: str) -> int:
    """Digits only: a number that is out of range must never become another user."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _MAX_ID):
        raise UsageError(f'{flag}: "{text}" is not the number of a user or group')
    return int(text)
