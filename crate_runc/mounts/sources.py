"""The parent's part of bind mounts: clone their sources as whoever called crate-runc, and idmap those that are to be.

Root of the container's user namespace may not reach a source, and may never idmap one: that takes rights over the file system itself
(mount_setattr(2), MOUNT_ATTR_IDMAP). The trees are detached, travel to the child as descriptors, and are attached there.
"""

from __future__ import annotations

import errno
import os

from crate_runc.errors import StepError, reason
from crate_runc.kernel import idmap, mount, namespaces
from crate_runc.mounts import mapping as mount_mapping
from crate_runc.mounts import options as mount_options
from crate_runc.mounts.point import clone_source
from crate_runc.process import channel
from crate_runc.steps.step import namespace_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.mounts.options import MountOptions

_MOST = 160  # descriptors in one message, see process/channel.py


def needs(mounts: list[dict[str, Any]], *, in_general: bool) -> list[tuple[str, str]]:
    """("source", index) of the mounts that the parent clones: the idmapped ones, which cannot be left out, first."""
    mapped = [index for index, entry in enumerate(mounts) if mount_options.maps_ids(entry)]
    others = []
    if in_general:
        others = [index for index, entry in enumerate(mounts) if index not in mapped and _is_new_bind(entry)]
    return [("source", str(index)) for index in [*mapped, *others]]


def _is_new_bind(entry: dict[str, Any]) -> bool:
    words = entry.get("options", ())
    return mount_options.is_bind(entry) and entry.get("type") not in ("cgroup", "cgroup2") and "remount" not in words


def open_all(wanted: list[tuple[str, str]], config: dict[str, Any], bundle: str) -> list[int]:
    """Descriptors in the order of `wanted`; none where the caller may not clone mounts, or cannot: then the child does it in its own namespace,
    but for idmapped ones. Raises StepError."""
    if len(wanted) > _MOST:
        raise StepError("mount", errno.E2BIG, f"{len(wanted)} bind mounts in a user namespace: at most {_MOST} are possible")
    if not mount.is_complete():
        if mapped := [index for _, index in wanted if mount_options.maps_ids(config["mounts"][int(index)])]:
            text = f"mounts[{mapped[0]}]: an idmapped mount needs the rights and the calls of mount_setattr(2), Linux 5.12"
            raise StepError("mount", errno.ENOSYS, text)
        return []
    if "user" in namespace_paths(config):
        return _open_locked(wanted, config, bundle)
    return _open_each(wanted, config, bundle)


def _open_locked(wanted: list[tuple[str, str]], config: dict[str, Any], bundle: str) -> list[int]:
    """By a process with our rights in a mount namespace of less: what the host's mounts restrict or cover, root of the container's user
    namespace cannot lay bare again, which he could with clones of the mounts that we see ourselves."""
    ours, theirs = channel.pair()
    namespace = idmap.lesser_mount_namespace()
    pid = namespaces.fork(0)
    if pid == 0:
        try:
            namespaces.setns(namespace, namespaces.NEWNS)
            theirs.send(b"trees", _open_each(wanted, config, bundle))
        except StepError as error:
            theirs.send(b"error\0%d\0%s" % (error.errno, str(error).encode("utf-8", "replace")))
        except OSError as error:
            theirs.send(b"error\0%d\0clone the sources of mounts: %s" % (error.errno or 0, reason(error).encode()))
        finally:
            os._exit(0)
    os.close(namespace)
    theirs.close()
    try:
        message, trees = ours.receive()
    except EOFError:
        raise StepError("mount", 0, "clone the sources of mounts: the process that does it has ended") from None
    finally:
        ours.close()
        os.waitpid(pid, 0)
    if message != b"trees":
        _, number, text = message.split(b"\0")
        raise StepError("mount", int(number), text.decode("utf-8", "replace"))
    return trees


def _open_each(wanted: list[tuple[str, str]], config: dict[str, Any], bundle: str) -> list[int]:
    trees: list[int] = []
    made: dict[object, int] = {}
    try:
        for _, index in wanted:
            entry = config["mounts"][int(index)]
            trees.append(_open(entry, config.get("linux", {}), bundle, made))
    except BaseException:
        for tree in trees:
            os.close(tree)
        raise
    finally:
        for namespace in made.values():
            os.close(namespace)
    return trees


def _open(entry: dict[str, Any], linux: dict[str, Any], bundle: str, made: dict[object, int]) -> int:
    options = mount_options.parse(entry.get("options", []))
    source = entry.get("source", "")
    source = source if source.startswith("/") else f"{bundle}/{source}"
    follow = "src-nofollow" not in options.extensions
    tree = clone_source(source, entry["destination"], recursive=options.recursive, follow=follow)
    try:
        # What is mounted on the host later arrives, and never the other way round, as in any namespace of less privileges.
        mount.set_attributes(tree, propagation=mount.MS_SLAVE, recursive=True)
        if mount_options.maps_ids(entry):
            _map(tree, entry, options, linux, made, source)
    except OSError as error:
        os.close(tree)
        text = f'error mounting "{source}" to rootfs at "{entry["destination"]}": {(error.strerror or "").lower()}'
        raise StepError("mount", error.errno or 0, text) from None
    except BaseException:
        os.close(tree)
        raise
    return tree


def _map(
    tree: int, entry: dict[str, Any], options: MountOptions, linux: dict[str, Any], made: dict[object, int], source: str
) -> None:
    mappings = mount_mapping.of_entry(entry, options.mapping, linux)
    key = repr(mappings)
    try:
        if key not in made:
            made[key] = idmap.user_namespace(*_lines(mappings)) if mappings else _joined(linux)
        idmap.apply(tree, made[key], recursive="ridmap" in options.extensions)
    except OSError as error:
        raise StepError("mount", error.errno or 0, _why(error, entry, source)) from None


def _lines(mappings: tuple[list[dict[str, int]], list[dict[str, int]]]) -> tuple[str, str]:
    users, groups = ("".join(f"{one['containerID']} {one['hostID']} {one['size']}\n" for one in side) for side in mappings)
    return users, groups


def _joined(linux: dict[str, Any]) -> int:
    path = next(entry["path"] for entry in linux["namespaces"] if entry["type"] == "user")
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _why(error: OSError, entry: dict[str, Any], source: str) -> str:
    reasons = {
        errno.ENOSYS: "idmapped mounts need mount_setattr(2), Linux 5.12",
        errno.EINVAL: "its file system, or one that is mounted below it, cannot be idmapped",
        errno.EPERM: "idmapping it takes CAP_SYS_ADMIN over its file system, which a user namespace does not have over the host's",
    }
    what = reasons.get(error.errno or 0, (error.strerror or "").lower())
    return f'error mounting "{source}" to rootfs at "{entry["destination"]}": {what}'
