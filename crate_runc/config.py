"""Read a bundle: config.json, strictly, and check it against what the OCI runtime-spec 1.3 says and what this runtime can apply.

`Bundle.config` is the dict itself: there is no second model. The first defect raises BundleError with its JSON path; a property that cannot be
applied raises Unsupported, and one that is unknown is ignored, as the spec asks ("Extensibility"). The bundle's root filesystem is not looked
at here, and paths of the host (namespaces, devices, hooks) are not opened: the steps do that.
"""

from __future__ import annotations

import os
import stat

from crate_runc import strict_json
from crate_runc.errors import BundleError, reason
from crate_runc.rules import process as process_rules
from crate_runc.rules.shapes import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn


_CHUNK = 1 << 17  # bytes


class Bundle:
    """`path` and `rootfs` are absolute; `config` is the checked content of config.json."""

    __slots__ = ("config", "path", "rootfs")

    def __init__(self, path: str, config: dict[str, Any], rootfs: str) -> None:
        self.path = path
        self.config = config
        self.rootfs = rootfs


def load(bundle_path: str, file: str = "") -> Bundle:
    """`file` stands in for the bundle's config.json. Raises BundleError for the first defect."""
    path = os.path.abspath(bundle_path)
    if not os.path.isdir(path):
        raise BundleError("", f"bundle {path}: not a directory")
    config = read_document(path, file)
    check_config(config)
    return Bundle(path, config, os.path.normpath(os.path.join(path, config["root"]["path"])))


def read_document(bundle_path: str, file: str = "") -> dict[str, Any]:
    """An object, not checked further. A file that the caller named may be a pipe; the bundle's own is not waited for. Raises BundleError."""
    place = file or os.path.join(bundle_path, "config.json")
    config = read_json(place, flags=0 if file else os.O_NONBLOCK)
    if type(config) is not dict:
        raise BundleError("", f"{place}: must be an object, not {quoted(config)}")
    return config


def check_config(config: Any) -> None:
    """Raises BundleError for the first defect of a whole config.json."""
    from crate_runc.rules import config as config_rules  # exec does not need them

    config_rules.config(config, "", _raise)
    config_rules.relations(config, _raise)
    _fill_user(config["process"])


def check_process(process: Any, where: str = "process") -> None:
    """For `exec --process FILE`, whose text is the `process` object alone. Raises BundleError."""
    process_rules.process(process, where, _raise)
    _fill_user(process)


def _fill_user(process: dict[str, Any]) -> None:
    """Who writes no user means root, as a Go program reads it."""
    process["user"] = {"uid": 0, "gid": 0, **process.get("user", {})}


def defects(config: Any) -> list[BundleError]:
    """All defects; those that concern several properties only once each property for itself is right."""
    from crate_runc.rules import config as config_rules

    found: list[BundleError] = []
    config_rules.config(config, "", found.append)
    if not found:
        config_rules.relations(config, found.append)
    return found


def read_json(path: str, *, flags: int = 0) -> Any:
    """The value in a file of at most strict_json.MAX_BYTES; with O_NONBLOCK among the flags of open(2), in a regular file. Raises BundleError
    naming the file."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | flags), "rb", buffering=0) as file:
            if flags & os.O_NONBLOCK and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BundleError("", f"read {path}: not a regular file")
            raw = b""
            while len(raw) <= strict_json.MAX_BYTES and (part := file.read(_CHUNK)):
                raw += part
    except FileNotFoundError:
        # Not strerror's words: podman takes those for a program that is missing in the container and exits 127.
        raise BundleError("", f"{path} not found") from None
    except OSError as error:
        raise BundleError("", f"read {path}: {reason(error)}") from None
    try:
        return strict_json.loads(raw)
    except strict_json.JSONError as error:
        raise BundleError("", f"{path}: {error}") from None


def dump_json(value: Any) -> bytes:
    """Compact JSON."""
    return strict_json.dumps(value)


def _raise(error: BundleError) -> NoReturn:
    raise error
