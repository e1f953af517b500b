"""Requests to criu and its answers: the messages of its rpc.proto that a runtime needs, by their field numbers. Pure."""

from __future__ import annotations

from crate_runc.checkpoint import protobuf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
KINDS = {
    DUMP: "dump",
    RESTORE: "restore",
    PRE_DUMP: "pre-dump",
    NOTIFY: "notify",
    FEATURE_CHECK: "feature check",
    VERSION: "version",
}
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
"""--manage-cgroups-mode: what criu does about cgroups and their properties."""
# criu_opts
OPTIONS = {
    "images_dir_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "evasive_devices": 6,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "ps": 11,
    "notify_scripts": 12,
    "root": 13,
    "parent_img": 14,
    "track_mem": 15,
    "auto_dedup": 16,
    "work_dir_fd": 17,
    "link_remap": 18,
    "manage_cgroups": 24,
    "cg_root": 25,
    "rst_sibling": 26,
    "inherit_fd": 27,
    "manage_cgroups_mode": 34,
    "external": 37,
    "empty_ns": 38,
    "join_ns": 39,
    "freeze_cgroup": 44,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "orphan_pts_master": 50,
    "config_file": 51,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
}
# Messages in criu_opts, by the option that holds them.
_PARTS = {
    "ps": {"address": 1, "port": 2},
    "cg_root": {"ctrl": 1, "path": 2},
    "inherit_fd": {"key": 1, "fd": 2},
    "join_ns": {"ns": 1, "ns_file": 2},
}
FEATURES = {"mem_track": 1, "lazy_pages": 2}


def encode(kind: int, options: dict[str, Any] | None = None, *, features: tuple[str, ...] = ()) -> bytes:
    """`options` by their names in OPTIONS: numbers, texts, booleans, dicts for messages, and lists of these."""
    fields: list[tuple[int, Any]] = [(1, kind)]
    if options is not None:
        fields.append((2, _options(options)))
    if features:
        fields.append((5, protobuf.encode((FEATURES[name], 1) for name in features)))
    return protobuf.encode(fields)


def encode_answer(*, success: bool) -> bytes:
    """To a notification."""
    return protobuf.encode([(1, NOTIFY), (3, success)])


def _options(options: dict[str, Any]) -> bytes:
    fields: list[tuple[int, Any]] = []
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                one = protobuf.encode((_PARTS[name][part], item) for part, item in one.items())
            fields.append((OPTIONS[name], one))
    return protobuf.encode(fields)


class Answer:
    """`pid` is the restored process's, or the one that a notification is about; `script` says which notification. `version` is 31701 for
    3.17.1. `features` are those that criu and the kernel have."""

    __slots__ = ("errno", "features", "kind", "message", "pid", "script", "success", "version")

    def __init__(self, raw: bytes) -> None:
        """Raises ValueError."""
        fields = protobuf.decode(raw)
        self.kind = _number(fields, 1)
        self.success = bool(_number(fields, 2))
        notification = protobuf.decode(_bytes(fields, 5))
        self.script = _bytes(notification, 1).decode("utf-8", "replace")
        self.pid = _number(notification, 2) or _number(protobuf.decode(_bytes(fields, 4)), 1)
        self.errno = _number(fields, 7)
        self.message = _bytes(fields, 9).decode("utf-8", "replace")
        known = protobuf.decode(_bytes(fields, 8))
        self.features = {name for name, number in FEATURES.items() if _number(known, number)}
        version = protobuf.decode(_bytes(fields, 10))
        self.version = _number(version, 1) * 10000 + _number(version, 2) * 100 + _number(version, 4)


def _number(fields: dict[int, list[int | bytes]], number: int) -> int:
    value = fields.get(number, [0])[-1]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return protobuf.signed(value)


def _bytes(fields: dict[int, list[int | bytes]], number: int) -> bytes:
    value = fields.get(number, [b""])[-1]
    if not isinstance(value, bytes):
        raise ValueError(f"field {number} is no text")
    return value
