"""checkpoint: save a running container, which then ends unless it is left running (criu-dump(8)).

Beside criu's images the image directory gets descriptors.json, as runc writes it: what the first process's stdin, stdout and stderr are, so that
a restore can put its own in their place.
"""

from __future__ import annotations

import os

from crate_runc import config as configuration
from crate_runc.checkpoint import conversation, external, options, request
from crate_runc.errors import RuncError, StateError, reason
from crate_runc.kernel import path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.checkpoint.request import Answer
    from crate_runc.state.record import ContainerState

    Values = dict[str, Any]

DESCRIPTORS = "descriptors.json"
_LOG = "dump.log"


def save(state: ContainerState, status: str, values: Values, criu: str) -> None:
    """`values` are the flags, `criu` what --criu names. The container's lock is held. Raises RuncError; the container then runs on."""
    if status not in ("running", "paused"):
        raise StateError(
            f"cannot checkpoint a container in the {status} state" if status != "stopped" else "container not running"
        )
    wanted = options.common(values, state.config.get("annotations", {}))
    status_fd = options.status_descriptor(values.get("status-fd", ""))
    if values.get("page-server"):
        wanted["ps"] = options.page_server(values["page-server"])
    program, _ = conversation.check(criu)
    image = options.image_directory(values, make=True)
    if values.get("parent-path"):
        options.check_parent(image, values["parent-path"])
        wanted |= {"parent_img": values["parent-path"], "track_mem": True}
    kind = _kind(program, values)
    wanted |= {"pid": state.pid, "root": state.rootfs, **_freezer(state), **_externals(state, image, whole=kind == request.DUMP)}
    directories = options.Directories(image, values.get("work-path", ""), _LOG)
    try:
        message = request.encode(kind, {**directories.options, **wanted})
        conversation.ask(program, message, listener=_Listener(status_fd))
    except RuncError as error:
        raise conversation.with_log(error, directories.log) from None
    finally:
        directories.close()


def _kind(program: str, values: Values) -> int:
    """The request, once criu and the kernel are known to have what it needs."""
    needed = ("mem_track",) * bool(values.get("pre-dump")) + ("lazy_pages",) * bool(values.get("lazy-pages"))
    if needed:
        found = conversation.ask(program, request.encode(request.FEATURE_CHECK, features=needed)).features
        if missing := [name for name in needed if name not in found]:
            raise RuncError(f"criu or this kernel lacks {', '.join(missing)}, which --pre-dump and --lazy-pages need")
    return request.PRE_DUMP if values.get("pre-dump") else request.DUMP


def _freezer(state: ContainerState) -> dict[str, Any]:
    """The cgroup by which criu stops the container's processes; without one it uses ptrace."""
    directory = state.cgroup_paths.get("freezer") or state.cgroup_paths.get("", "")
    return {"freeze_cgroup": directory} if directory and os.path.exists(directory) else {}


def _externals(state: ContainerState, image: str, *, whole: bool) -> dict[str, Any]:
    """Names of what belongs to the host. A pre-dump saves memory alone and needs none."""
    names = []
    for kind, place in external.namespaces_by_path(state.config).items():
        try:
            name = external.namespace_to_save(kind, os.stat(place).st_ino)
        except OSError as error:
            raise RuncError(f"checkpoint: stat {kind} namespace {place}: {reason(error)}") from None
        names += [name] if name else []
    if whole:
        mountinfo = _read(f"/proc/{state.pid}/mountinfo")
        places = Places(state.rootfs)
        names += external.mounts_to_save(mountinfo, external.bound_at(state.config, places))
        places.close()
        links, keys = _descriptors(state.pid, external.mount_ids(mountinfo))
        names += [key for key in keys if key.startswith("file[")]
        _write(
            os.path.join(image, DESCRIPTORS),
            configuration.dump_json([_described(key, link) for key, link in zip(keys, links, strict=True)]),
        )
    return {"external": names} if names else {}


def _described(key: str, link: str) -> str:
    """runc's words, and for a file of the host, which runc does not have, criu's key and the file's name."""
    return f"{key} {link}" if key.startswith("file[") else key or link


def _descriptors(pid: int, container_mounts: set[int]) -> tuple[list[str], list[str]]:
    """Of 0, 1 and 2: where they lead, and criu's names for those that lead out of the container."""
    links, keys = [], []
    for fd in range(3):
        try:
            link, inode = os.readlink(f"/proc/{pid}/fd/{fd}"), os.stat(f"/proc/{pid}/fd/{fd}").st_ino
            fields = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/fdinfo/{fd}").splitlines() if ":" in line)
        except OSError:
            link, inode, fields = "", 0, {}
        links.append(link)
        keys.append(external.descriptor_key(link, int(fields.get("mnt_id", 0)), inode, container_mounts) if link else "")
    return links, keys


class Places:
    """A path in a root file system with its links resolved there, as the kernel shows the mount on it. Call it; close it."""

    __slots__ = ("_fd", "_prefix")

    def __init__(self, rootfs: str) -> None:
        self._fd = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._prefix = os.readlink(f"/proc/self/fd/{self._fd}")

    def __call__(self, name: str) -> str:
        try:
            fd = path.open_in_root(self._fd, name)
        except OSError:
            return os.path.normpath("/" + name.lstrip("/"))
        found = os.readlink(f"/proc/self/fd/{fd}")
        os.close(fd)
        return found.removeprefix(self._prefix) or "/"

    def close(self) -> None:
        os.close(self._fd)


class _Listener:
    """--status-fd: criu is ready to serve pages."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int | None) -> None:
        self._fd = fd

    def __call__(self, answer: Answer, fds: list[int]) -> None:
        for fd in fds:
            os.close(fd)
        if answer.script == "status-ready" and self._fd is not None:
            os.write(self._fd, b"\0")
            os.close(self._fd)
            self._fd = None


def _read(place: str) -> str:
    with open(place, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _write(place: str, text: bytes) -> None:
    try:
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RuncError(f"write {place}: {reason(error)}") from None
    os.write(fd, text)
    os.close(fd)
