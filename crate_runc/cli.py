"""The command line: runc's grammar, one verb per call, and how a failure is told.

Flags are declared in a table and parsed as Go's programs do: one or two dashes, `--flag value` or `--flag=value`, `--` ends them. Flags may
also follow the arguments, but for `exec`, whose arguments are another program's. The verbs import what they need when they are called:
`state` and `kill` must not pay for what only `create` uses.

On failure the text goes to stderr, and with `--log` as one line to that file too; callers read the last line, or the whole file as one
JSON object, so nothing else is written there. Nothing is printed on stdout by `create`, `start` and `run`: it belongs to the container.
"""

from __future__ import annotations

import os
import sys

from crate_runc.errors import RuncError, UsageError, reason, warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Flags = dict[str, str]
    Values = dict[str, Any]

SWITCH, TEXT, NUMBER, LIST = "switch", "text", "number", "list"
GLOBAL: Flags = {
    "cgroup-manager": TEXT,
    "criu": TEXT,
    "debug": SWITCH,
    "help": SWITCH,
    "log": TEXT,
    "log-format": TEXT,
    "root": TEXT,
    "rootless": TEXT,
    "systemd-cgroup": SWITCH,
    "version": SWITCH,
}
SHORT_GLOBAL = {"h": "help", "v": "version"}
_LAUNCH: Flags = {"console-socket": TEXT, "pid-file": TEXT, "pidfd-socket": TEXT, "preserve-fds": NUMBER}
_CREATE: Flags = {"bundle": TEXT, "config": TEXT, **_LAUNCH, "no-pivot": SWITCH, "no-new-keyring": SWITCH}
_UPDATE: Flags = {
    "blkio-weight": TEXT,
    "cpu-burst": TEXT,
    "cpu-idle": TEXT,
    "cpu-period": TEXT,
    "cpu-quota": TEXT,
    "cpu-rt-period": TEXT,
    "cpu-rt-runtime": TEXT,
    "cpu-share": TEXT,
    "cpuset-cpus": TEXT,
    "cpuset-mems": TEXT,
    "kernel-memory": TEXT,
    "kernel-memory-tcp": TEXT,
    "l3-cache-schema": TEXT,
    "mem-bw-schema": TEXT,
    "memory": TEXT,
    "memory-reservation": TEXT,
    "memory-swap": TEXT,
    "pids-limit": TEXT,
    "resources": TEXT,
}
_READ: Flags = {"bundle": TEXT, "config": TEXT}
_EXEC: Flags = {
    **_LAUNCH,
    "additional-gids": LIST,
    "apparmor": TEXT,
    "cap": LIST,
    "cgroup": LIST,
    "cwd": TEXT,
    "detach": SWITCH,
    "env": LIST,
    "ignore-paused": SWITCH,
    "no-new-privs": SWITCH,
    "process": TEXT,
    "process-label": TEXT,
    "tty": SWITCH,
    "user": TEXT,
}
_CRIU: Flags = {
    "auto-dedup": SWITCH,
    "empty-ns": LIST,
    "ext-unix-sk": SWITCH,
    "file-locks": SWITCH,
    "image-path": TEXT,
    "lazy-pages": SWITCH,
    "manage-cgroups-mode": TEXT,
    "shell-job": SWITCH,
    "tcp-established": SWITCH,
    "work-path": TEXT,
}
_MANY = 1 << 20
# verb: (flags, their short forms, fewest and most arguments)
VERBS: dict[str, tuple[Flags, dict[str, str], int, int]] = {
    "check": ({**_READ, "format": TEXT}, {"b": "bundle", "f": "config"}, 0, 1),
    "checkpoint": (
        {
            **_CRIU,
            "leave-running": SWITCH,
            "link-remap": SWITCH,
            "page-server": TEXT,
            "parent-path": TEXT,
            "pre-dump": SWITCH,
            "status-fd": TEXT,
            "tcp-skip-in-flight": SWITCH,
        },
        {},
        1,
        1,
    ),
    "create": (_CREATE, {"b": "bundle", "f": "config"}, 1, 1),
    "delete": ({"force": SWITCH}, {"f": "force"}, 1, 1),
    "events": ({"interval": TEXT, "stats": SWITCH}, {}, 1, 1),
    "exec": (
        _EXEC,
        {"c": "cap", "d": "detach", "e": "env", "g": "additional-gids", "p": "process", "t": "tty", "u": "user"},
        1,
        _MANY,
    ),
    "features": ({}, {}, 0, 0),
    "help": ({}, {}, 0, 1),
    "kill": ({"all": SWITCH}, {"a": "all"}, 1, 2),
    "list": ({"format": TEXT, "quiet": SWITCH}, {"f": "format", "q": "quiet"}, 0, 0),
    "pause": ({}, {}, 1, 1),
    "plan": (
        {**_READ, "console-socket": TEXT, "no-new-keyring": SWITCH, "no-pivot": SWITCH, "preserve-fds": NUMBER},
        {"b": "bundle", "f": "config"},
        0,
        1,
    ),
    "ps": ({"format": TEXT}, {"f": "format"}, 1, _MANY),
    "resume": ({}, {}, 1, 1),
    "restore": (
        {
            **_CRIU,
            "bundle": TEXT,
            "console-socket": TEXT,
            "detach": SWITCH,
            "lsm-mount-context": TEXT,
            "lsm-profile": TEXT,
            "no-pivot": SWITCH,
            "no-subreaper": SWITCH,
            "pid-file": TEXT,
        },
        {"b": "bundle", "d": "detach"},
        1,
        1,
    ),
    "run": (
        {**_CREATE, "detach": SWITCH, "keep": SWITCH, "no-subreaper": SWITCH},
        {"b": "bundle", "d": "detach", "f": "config"},
        1,
        1,
    ),
    "spec": ({"bundle": TEXT, "rootless": SWITCH}, {"b": "bundle"}, 0, 0),
    "start": ({}, {}, 1, 1),
    "state": ({}, {}, 1, 1),
    "update": (_UPDATE, {"r": "resources"}, 1, 1),
}
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_DRIVERS = ("cgroupfs", "systemd", "disabled")
_ROOTLESS = {"": None, "auto": None, **dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}


class Invocation:
    """What one command line says. `verb` is "" for help and version."""

    __slots__ = ("arguments", "settings", "values", "verb")

    def __init__(self, settings: Values, verb: str, values: Values, arguments: list[str]) -> None:
        self.settings = settings
        self.verb = verb
        self.values = values
        self.arguments = arguments

    def rootless(self) -> bool | None:
        """None is "auto"."""
        return _ROOTLESS[self.settings.get("rootless", "")]

    def cgroup_driver(self) -> str:
        """As runc's flag and crun's say it: cgroupfs, systemd or disabled."""
        return str(self.settings.get("cgroup-manager") or ("systemd" if self.settings.get("systemd-cgroup") else "cgroupfs"))


def parse(argv: list[str], settings: Values) -> Invocation:
    """Fill `settings` with the global flags as they come, so that `--log` is known when a later word is wrong. Raises UsageError."""
    rest = _take(argv, GLOBAL, SHORT_GLOBAL, settings, stop_at_word=True)
    if settings.get("log-format", "text") not in ("text", "json"):
        raise UsageError(f'unknown log format "{settings["log-format"]}"; known: json, text')
    if settings.get("rootless", "") not in _ROOTLESS:
        raise UsageError(f'--rootless must be true, false or auto, not "{settings["rootless"]}"')
    if settings.get("cgroup-manager", "systemd") not in _DRIVERS:
        raise UsageError(f'--cgroup-manager must be cgroupfs, systemd or disabled, not "{settings["cgroup-manager"]}"')
    if settings.get("systemd-cgroup") and settings.get("cgroup-manager", "systemd") != "systemd":
        raise UsageError("--systemd-cgroup and --cgroup-manager name different drivers; leave one out")
    if not rest or settings.get("version"):
        return Invocation(settings, "", {}, rest)
    verb = "help" if rest[0] == "h" else rest[0]
    if verb not in VERBS:
        raise UsageError(f'unknown command "{verb}"; see crate-runc --help')
    flags, short, fewest, most = VERBS[verb]
    values: Values = {}
    arguments = _take(rest[1:], {**flags, "help": SWITCH}, {**short, "h": "help"}, values, stop_at_word=verb == "exec")
    if not values.get("help") and not settings.get("help") and not fewest <= len(arguments) <= most:
        wanted = "exactly" if fewest == most else "a minimum of" if len(arguments) < fewest else "a maximum of"
        number = fewest if len(arguments) < fewest else most
        raise UsageError(f'"{verb}" requires {wanted} {number} argument(s), not {len(arguments)}; see crate-runc {verb} --help')
    return Invocation(settings, verb, values, arguments)


def _take(words: list[str], flags: Flags, short: dict[str, str], values: Values, *, stop_at_word: bool) -> list[str]:
    """Move flags from `words` to `values`; returns the other words."""
    others: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return others + words[at:]
        if not word.startswith("-") or word == "-":
            if stop_at_word:
                return [word, *words[at:]]
            others.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        kind = flags.get(name)
        if kind is None:
            if others:  # `ps ID -ef`: the options of ps(1)
                others.append(word)
                continue
            raise UsageError(f"flag provided but not defined: -{name}")
        if kind == SWITCH:
            values[name] = _switch(name, value) if equals else True
            continue
        if not equals:
            if at == len(words):
                raise UsageError(f"flag needs an argument: -{name}")
            value = words[at]
            at += 1
        _store(values, name, kind, value)
    return others


def _switch(name: str, value: str) -> bool:
    if value not in _TRUE + _FALSE:
        raise UsageError(f'invalid boolean value "{value}" for -{name}: parse error')
    return value in _TRUE


def _store(values: Values, name: str, kind: str, value: str) -> None:
    if kind == LIST:
        values.setdefault(name, []).append(value)
    elif kind == NUMBER:
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise UsageError(f'invalid value "{value}" for flag -{name}: parse error')
        values[name] = int(value)
    else:
        values[name] = value


class Log:
    """`--log` and stderr. The file is opened before the verb starts: a path that cannot be written is an error like any other."""

    __slots__ = ("_fd", "_json")

    def __init__(self) -> None:
        self._fd = -1
        self._json = False

    def open(self, settings: Values) -> None:
        path = settings.get("log", "")
        self._json = settings.get("log-format") == "json"
        if path and self._fd < 0:
            try:
                self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise RuncError(f"open log {path}: {reason(error)}") from None

    def error(self, text: str) -> None:
        """Callers read the file as one object, or its last line: warnings that came before are told on stderr alone."""
        for warning in warnings:
            _write(2, self._line("warning", warning))
        self._say("error", text)

    def debug(self, text: str) -> None:
        """For who asked for it with --debug: to the log alone, where there is one."""
        _write(self._fd if self._fd >= 0 else 2, self._line("debug", text))

    def warn(self) -> None:
        """What a command that did its work has to say."""
        for warning in warnings:
            self._say("warning", warning)

    def _say(self, level: str, text: str) -> None:
        line = self._line(level, text)
        if self._fd < 0:
            _write(2, line)
        else:
            _write(self._fd, line)
            _write(2, text.encode("utf-8", "backslashreplace") + b"\n")

    def _line(self, level: str, text: str) -> bytes:
        import time

        from crate_runc import strict_json

        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._json:
            return strict_json.dumps({"level": level, "msg": text, "time": now}) + b"\n"
        return f'time="{now}" level={level} msg={strict_json.dumps(text).decode()}\n'.encode()


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status. `argv` is without the program's name."""
    log, settings = Log(), dict[str, Any]() if TYPE_CHECKING else {}
    verb = ""
    try:
        try:
            invocation = parse(argv, settings)
        finally:
            log.open(settings)
        verb = invocation.verb
        if settings.get("debug"):
            log.debug(f"{verb or 'crate-runc'} {' '.join(invocation.arguments)}: {invocation.values or 'no flags'}")
        status = _run(invocation)
        log.warn()
        if settings.get("debug"):
            log.debug(f"{verb or 'crate-runc'}: status {status}")
        return status
    except RuncError as error:
        log.error(str(error))
        return 255 if verb == "exec" and not isinstance(error, UsageError) else error.exit_code
    except OSError as error:
        log.error(_os_error_text(error))
        return 255 if verb == "exec" else 1
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if settings.get("debug"):
            raise
        log.error(f"internal error: {type(error).__name__}: {error}; run with --debug for where it happened")
        return 1


def _run(invocation: Invocation) -> int:
    if invocation.settings.get("version"):
        return _print(version_text())
    help_asked = invocation.settings.get("help") or invocation.values.get("help")
    if help_asked or invocation.verb in ("", "help"):
        from crate_runc import help_texts

        asked = (
            invocation.arguments[0]
            if invocation.verb == "help" and invocation.arguments
            else invocation.verb.removesuffix("help")
        )
        _print(help_texts.page(asked))
        if asked in ("checkpoint", "restore"):  # podman takes the exit status of this for the answer to whether they work
            from crate_runc.checkpoint import conversation

            conversation.check_host(invocation.settings.get("criu", ""))
        return 0
    from crate_runc import verbs

    return verbs.run(invocation)


def version_text() -> str:
    """Docker takes name and version from around the word "version" and the commit from its line; podman and buildah print the text as it is;
    containerd's go-runc wants "runc version" at the start and reports an empty version, not an error, for every other runtime."""
    from crate_runc import SPEC_VERSION, VERSION

    return f"crate-runc version {VERSION}\ncommit: v{VERSION}\nspec: {SPEC_VERSION}\npython: {'.'.join(map(str, sys.version_info[:3]))}\n"


def _os_error_text(error: OSError) -> str:
    return f"{error.filename}: {reason(error)}" if error.filename else reason(error)


def _print(text: str) -> int:
    _write(1, text.encode())
    return 0


def _write(fd: int, line: bytes) -> None:
    """Whole, and without complaint where nobody reads (any more)."""
    try:
        while line:
            line = line[os.write(fd, line) :]
    except OSError:
        pass
