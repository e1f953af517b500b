"""What each verb of the command line does: turn its flags into a call, and the result into text. Imports are made where they are used."""

from __future__ import annotations

import os

from crate_runc.errors import StateError, UsageError
from crate_runc.state.store import StateStore, default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from crate_runc.cli import Invocation
    from crate_runc.options import Options

_COLUMNS = (("ID", "id"), ("PID", "pid"), ("STATUS", "status"), ("BUNDLE", "bundle"), ("CREATED", "created"), ("OWNER", "owner"))


def run(invocation: Invocation) -> int:
    """Returns the exit status. Raises RuncError and OSError."""
    return _VERBS[invocation.verb](invocation)


def _store(invocation: Invocation) -> StateStore:
    return StateStore(invocation.settings.get("root") or default_root(os.geteuid(), os.environ))


def _options(invocation: Invocation) -> Options:
    from crate_runc.options import Options

    values = invocation.values
    return Options(
        container_id=invocation.arguments[0] if invocation.arguments else "",
        cgroup_driver=invocation.cgroup_driver(),
        detach=values.get("detach", False),
        config_file=values.get("config", ""),
        console_socket=values.get("console-socket", ""),
        pid_file=values.get("pid-file", ""),
        pidfd_socket=values.get("pidfd-socket", ""),
        preserve_fds=values.get("preserve-fds", 0),
        rootless=invocation.rootless(),
        no_pivot=values.get("no-pivot", False),
        no_new_keyring=values.get("no-new-keyring", False),
        keep=values.get("keep", False),
        no_subreaper=values.get("no-subreaper", False),
        tty=values.get("tty", False),
    )


def _create(invocation: Invocation) -> int:
    from crate_runc import lifecycle

    lifecycle.create(_store(invocation), invocation.arguments[0], invocation.values.get("bundle") or ".", _options(invocation))
    return 0


def _run(invocation: Invocation) -> int:
    from crate_runc import lifecycle

    return lifecycle.run(
        _store(invocation), invocation.arguments[0], invocation.values.get("bundle") or ".", _options(invocation)
    )


def _start(invocation: Invocation) -> int:
    from crate_runc import lifecycle

    lifecycle.start(_store(invocation), invocation.arguments[0])
    return 0


def _exec(invocation: Invocation) -> int:
    from crate_runc import exec

    container_id, *arguments = invocation.arguments
    return exec.run(_store(invocation), container_id, invocation.values, arguments, _options(invocation))


def _state(invocation: Invocation) -> int:
    with _store(invocation).open(invocation.arguments[0], lock=False) as entry:
        record = entry.load()
        value = record.as_state_json(entry.status(record))
    return _print_json(value)


def _kill(invocation: Invocation) -> int:
    from crate_runc import lifecycle
    from crate_runc.kernel.signal_names import number_of

    container_id, *rest = invocation.arguments
    number = number_of(rest[0] if rest else "TERM")
    if number is None:
        raise UsageError(f'unknown signal "{rest[0]}"')
    lifecycle.kill(_store(invocation), container_id, number, all=invocation.values.get("all", False))
    return 0


def _delete(invocation: Invocation) -> int:
    from crate_runc import lifecycle

    lifecycle.delete(_store(invocation), invocation.arguments[0], invocation.values.get("force", False))
    return 0


def _list(invocation: Invocation) -> int:
    from crate_runc import strict_json

    kind = _format(invocation)
    states = [
        {**record.as_state_json(entry.status(record)), "owner": _user_name(record.owner)}
        for entry, record in _store(invocation).entries()
    ]
    if invocation.values.get("quiet"):
        return _print("".join(f"{state['id']}\n" for state in states))
    if kind == "json":
        return _print(strict_json.dumps(states).decode() + "\n")
    rows = [[title for title, _ in _COLUMNS], *([str(state[key]) for _, key in _COLUMNS] for state in states)]
    return _print(table(rows))


def table(rows: list[list[str]]) -> str:
    """Columns at least 12 wide and 3 apart, the last one as it is."""
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]) - 1)]
    return "".join("".join(f"{cell:<{width}}" for cell, width in zip(row, [*widths, 0], strict=True)) + "\n" for row in rows)


def _user_name(uid: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _format(invocation: Invocation) -> str:
    kind: str = invocation.values.get("format") or "table"
    if kind not in ("table", "json"):
        raise UsageError(f'invalid format option "{kind}"; known: json, table')
    return kind


def _pause(invocation: Invocation) -> int:
    from crate_runc import pause

    pause.pause(_store(invocation), invocation.arguments[0])
    return 0


def _resume(invocation: Invocation) -> int:
    from crate_runc import pause

    pause.resume(_store(invocation), invocation.arguments[0])
    return 0


def _update(invocation: Invocation) -> int:
    from crate_runc import update, update_flags

    update.update(_store(invocation), invocation.arguments[0], update_flags.resources(invocation.values), flags=invocation.values)
    return 0


def _events(invocation: Invocation) -> int:
    from crate_runc import events

    interval = events.seconds_of(invocation.values.get("interval", "5s"))
    events.run(_store(invocation), invocation.arguments[0], interval=interval, once=invocation.values.get("stats", False))
    return 0


def _ps(invocation: Invocation) -> int:
    from crate_runc import host, process_list, strict_json
    from crate_runc.cgroup import from_state

    container_id, *rest = invocation.arguments
    kind = _format(invocation)
    with _store(invocation).open(container_id, lock=False) as entry:
        state = entry.load()
        if entry.status(state) in ("stopped", "creating"):
            raise StateError("container not running")
    pids = from_state(state, host.probe()).processes() or [state.pid]
    if kind == "json":
        return _print(strict_json.dumps(pids).decode() + "\n")
    return _print(process_list.table(pids, rest or ["-ef"]))


def _checkpoint(invocation: Invocation) -> int:
    from crate_runc.checkpoint import dump

    values = invocation.values
    with _store(invocation).open(invocation.arguments[0]) as entry:
        state = entry.load()
        dump.save(state, entry.status(state), values, invocation.settings.get("criu", ""))
    if not values.get("leave-running") and not values.get("pre-dump"):
        from crate_runc import lifecycle

        lifecycle.delete(_store(invocation), invocation.arguments[0], force=True)
    return 0


def _restore(invocation: Invocation) -> int:
    from crate_runc.checkpoint import restore

    bundle, criu = invocation.values.get("bundle") or ".", invocation.settings.get("criu", "")
    return restore.run(_store(invocation), invocation.arguments[0], bundle, _options(invocation), invocation.values, criu)


def _spec(invocation: Invocation) -> int:
    from crate_runc import spec

    spec.write(invocation.values.get("bundle") or ".", rootless=invocation.values.get("rootless", False))
    return 0


def _features(invocation: Invocation) -> int:
    from crate_runc import features

    return _print_json(features.make())


def _plan(invocation: Invocation) -> int:
    from crate_runc import config, host, plan

    options = _options(invocation)
    options.container_id = "plan"
    bundle = config.load(_bundle_path(invocation), options.config_file)
    return _print(plan.make(bundle, host.probe(invocation.rootless()), options).render())


def _check(invocation: Invocation) -> int:
    from crate_runc import check, strict_json

    kind = invocation.values.get("format", "text")
    if kind not in ("text", "json"):
        raise UsageError(f'invalid format option "{kind}"; known: json, text')
    defects = check.bundle(_bundle_path(invocation), invocation.values.get("config", ""))
    if kind == "json":
        _print(strict_json.dumps([{"path": defect.where, "message": defect.what} for defect in defects]).decode() + "\n")
    else:
        _print("".join(f"{defect}\n" for defect in defects))
    return 1 if defects else 0


def _bundle_path(invocation: Invocation) -> str:
    """As the flag that other verbs have, or as the argument."""
    named = [*invocation.arguments, *filter(None, [invocation.values.get("bundle")])]
    if len(named) > 1:
        raise UsageError(f"{invocation.verb}: name the bundle once, not with --bundle and as an argument")
    return named[0] if named else "."


def _print_json(value: Any) -> int:
    from crate_runc import strict_json

    return _print(strict_json.dumps_indented(value) + "\n")


def _print(text: str) -> int:
    line = text.encode("utf-8", "backslashreplace")
    while line:
        line = line[os.write(1, line) :]
    return 0


_VERBS: dict[str, Callable[[Invocation], int]] = {
    "check": _check,
    "checkpoint": _checkpoint,
    "create": _create,
    "delete": _delete,
    "events": _events,
    "exec": _exec,
    "features": _features,
    "kill": _kill,
    "list": _list,
    "pause": _pause,
    "plan": _plan,
    "ps": _ps,
    "resume": _resume,
    "restore": _restore,
    "run": _run,
    "spec": _spec,
    "start": _start,
    "state": _state,
    "update": _update,
}
