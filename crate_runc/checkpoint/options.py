"""What the flags of `checkpoint` and `restore` say, as the options of a request. Pure but for the directories that are made and opened."""

from __future__ import annotations

import os

from crate_runc.checkpoint import request
from crate_runc.errors import RuncError, UsageError, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Values = dict[str, Any]
    Options = dict[str, Any]

_NEW_NETWORK = 0x40000000
_SWITCHES = {
    "auto-dedup": "auto_dedup",
    "ext-unix-sk": "ext_unix_sk",
    "file-locks": "file_locks",
    "lazy-pages": "lazy_pages",
    "leave-running": "leave_running",
    "link-remap": "link_remap",
    "shell-job": "shell_job",
    "tcp-established": "tcp_established",
    "tcp-skip-in-flight": "tcp_skip_in_flight",
}
_CONFIGURATION = "/etc/criu/crate-runc.conf"
_VERBOSE = 4


def common(values: Values, annotations: dict[str, str]) -> Options:
    """Of both verbs. Raises UsageError."""
    mode = values.get("manage-cgroups-mode") or "soft"
    if mode not in request.CGROUP_MODES:
        raise UsageError(f'invalid manage-cgroups-mode value "{mode}"; known: {", ".join(request.CGROUP_MODES)}')
    for name in values.get("empty-ns", []):
        if name != "network":
            raise UsageError(f'--empty-ns: namespace "{name}" is not supported; known: network')
    options: Options = {option: True for flag, option in _SWITCHES.items() if values.get(flag)}
    options |= {
        "log_level": _VERBOSE,
        "notify_scripts": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": request.CGROUP_MODES[mode],
        "empty_ns": _NEW_NETWORK,  # devices and addresses are whoever's made the network
        "orphan_pts_master": True,
    }
    configuration = annotations.get("org.criu.config", _CONFIGURATION)
    if configuration:
        options["config_file"] = configuration
    return options


def page_server(text: str) -> Options:
    """Raises UsageError."""
    address, _, port = text.rpartition(":")
    if not address or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f'--page-server: "{text}" is not ADDRESS:PORT')
    return {"address": address.strip("[]"), "port": int(port)}


def status_descriptor(text: str) -> int | None:
    """A descriptor that the caller passed and that can be written to. Raises UsageError."""
    import fcntl

    if text in ("", "-1"):
        return None
    try:
        writable = fcntl.fcntl(int(text), fcntl.F_GETFL) & (os.O_WRONLY | os.O_RDWR)
    except (ValueError, OSError):
        raise UsageError(f"invalid --status-fd argument {text}: it is not open") from None
    if not writable:
        raise UsageError(f"invalid --status-fd argument {text}: not writable")
    return int(text)


def image_directory(values: Values, *, make: bool) -> str:
    """Raises RuncError."""
    path = os.path.abspath(values.get("image-path") or "checkpoint")
    if make:
        _make(path)
    return path


def check_parent(image: str, parent: str) -> None:
    """Raises UsageError."""
    if os.path.isabs(parent):
        raise UsageError("--parent-path must be relative, to --image-path")
    if not os.path.isdir(os.path.join(image, parent)):
        raise UsageError(f"invalid --parent-path: {os.path.join(image, parent)} is not a directory")


class Directories:
    """The image and work directories, open while a request runs: criu takes descriptors. `log` is where criu writes."""

    __slots__ = ("_fds", "log", "options")

    def __init__(self, image: str, work: str, log: str) -> None:
        self._fds = [_open(image)]
        self.options: Options = {"images_dir_fd": self._fds[0], "log_file": log}
        self.log = os.path.join(image, log)
        if work:
            _make(work)
            self._fds.append(_open(work))
            self.options["work_dir_fd"] = self._fds[1]
            self.log = os.path.join(work, log)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


def _make(path: str) -> None:
    try:
        os.makedirs(path, 0o700, exist_ok=True)
    except OSError as error:
        raise RuncError(f"make {path}: {reason(error)}") from None


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise RuncError(f"open {path}: {reason(error)}") from None
