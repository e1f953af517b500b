"""What a container stands on, made inside the monitor's namespaces: its root, its network namespace and its final config.json.

Everything read in the root is opened below it by openat2(2). Mounts made here vanish with the monitor and the container.
"""

from __future__ import annotations

import os
import stat
from sys import byteorder

from crate_engine.bundle import user
from crate_engine.errors import CrateError, HostError, RuntimeFailed, UsageError
from crate_engine.system import mount, process
from crate_engine.system.builtin import socket
from crate_engine.system.path import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS


def mount_root(container: str, snapshot: dict[str, Any], *, user_xattr: bool) -> None:
    """Make `rootfs` the container's root: an overlay over the image's layers, or nothing to do for a copy."""
    kind, lower = snapshot["kind"], snapshot["lower"]
    target = f"{container}/rootfs"
    try:
        if kind == "overlay":
            _inherit_root_mode(lower[-1], f"{container}/upper")
            mount.overlay(lower, f"{container}/upper", f"{container}/work", target, user_xattr=user_xattr)
        elif kind == "fuse-overlayfs":
            _inherit_root_mode(lower[-1], f"{container}/upper")
            _mount_fuse(snapshot["program"], lower, container)
    except OSError as error:
        raise HostError(
            f"mount the container's root ({kind}): {error.strerror}",
            hint="is the data root on a file system that overlayfs supports?",
        ) from error


def make_network_namespace(path: str) -> None:
    """A new network namespace with its loopback up, held by a bind mount on the file `path`."""
    with open(path, "wb"):
        pass
    heard, hear = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            process.unshare(process.CLONE_NEWNET)
            _loopback_up()
            os.write(hear, b"x")
            os.close(tell)
            os.read(told, 1)
        finally:
            os._exit(0)
    os.close(hear)
    os.close(told)
    try:
        if not os.read(heard, 1):
            raise HostError("make a network namespace: denied by this host")
        mount.bind(f"/proc/{child}/ns/net", path)
    finally:
        os.close(heard)
        os.close(tell)
        os.waitpid(child, 0)


def complete_process(root: int, config: dict[str, Any], wanted: str, *, can_set_groups: bool) -> None:
    """Fill in what only the root's files tell: the user's ids and groups, and HOME. `root` is an fd of the container's root."""
    identity = identify(root, wanted)
    config["user"] = {"uid": identity.uid, "gid": identity.gid}
    if can_set_groups and identity.groups:
        config["user"]["additionalGids"] = list(identity.groups)
    if not any(entry.startswith("HOME=") for entry in config["env"]):
        config["env"].append(f"HOME={identity.home}")
    if identity.uid != 0:
        # Capabilities of a user that is not root are only what may be regained, none at once (CVE-2018-10856).
        for name in ("effective", "permitted"):
            config["capabilities"][name] = []


def identify(root: int, wanted: str) -> user.Identity:
    """Raises RuntimeFailed of status 126, as docker does for a user that the image does not have."""
    try:
        return user.resolve(user.parse(wanted), _read(root, b"etc/passwd"), _read(root, b"etc/group"))
    except UsageError as error:
        raise RuntimeFailed(str(error), exit_code=126) from error


def make_directory(root: int, path: str) -> None:
    """The directory `path` below the root, made with its parents when missing; links in it are followed inside the root."""
    done = b""
    for name in [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]:
        if name == b"..":
            raise CrateError(f"working directory {path}: must not contain ..")
        parent = openat2(root, done or b".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _IN_ROOT)
        done = done + b"/" + name
        try:
            os.close(openat2(root, done, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _IN_ROOT))
        except FileNotFoundError:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError as error:
                raise CrateError(
                    f"working directory {path}: {os.fsdecode(done)} is a link that leads nowhere in the image"
                ) from error
        except NotADirectoryError as error:
            raise CrateError(f"working directory {path}: {os.fsdecode(done)} is not a directory") from error
        finally:
            os.close(parent)


def make_mount_points(root: int, paths: list[str]) -> None:
    """A plain file in the container's own layer where an engine's file is to be mounted, so that no link of the image is followed there.

    Links are common: distributions point /etc/resolv.conf at a file of their name service, which an image does not have.
    """
    for path in paths:
        directory, _, name = path.rpartition("/")
        make_directory(root, directory)
        parent = openat2(root, os.fsencode(directory), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, _IN_ROOT)
        try:
            try:
                if stat.S_ISREG(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    continue
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                pass
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
        finally:
            os.close(parent)


def open_root(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _read(root: int, path: bytes) -> bytes:
    """A regular file of bounded size; a missing one is empty. A fifo or device that stands there is not opened for good."""
    try:
        fd = openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, _IN_ROOT)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as error:
        raise UsageError(f"read the image's /{path.decode()}: {error.strerror}") from error
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise UsageError(f"read the image's /{path.decode()}: not a regular file")
        content = b""
        while len(content) <= user.FILE_BYTES and (chunk := file.read(user.FILE_BYTES + 1 - len(content))):
            content += chunk
    return content


def _inherit_root_mode(layer: str, upper: str) -> None:
    """The merged root directory shows the upper directory's mode and owner, so they must be the image's."""
    layer_fd = openat2(-100, os.fsencode(layer), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, RESOLVE_NO_SYMLINKS)
    try:
        status = os.fstat(layer_fd)
    finally:
        os.close(layer_fd)
    os.chmod(upper, stat.S_IMODE(status.st_mode))
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(upper, status.st_uid, status.st_gid)


def _mount_fuse(program: str, lower: list[str], container: str) -> None:
    options = f"lowerdir={':'.join(lower[::-1])},upperdir={container}/upper,workdir={container}/work"
    pid = os.posix_spawn(program, [program, "-o", options, f"{container}/rootfs"], {"PATH": "/usr/bin:/bin"})
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise HostError(f"mount the container's root: {program} failed with exit status {status}")


def _loopback_up() -> None:
    """ioctl(SIOCSIFFLAGS) of netdevice(7): a new network namespace has `lo`, but down."""
    import fcntl

    with_flags = b"lo".ljust(16, b"\0") + (1).to_bytes(2, byteorder) + bytes(22)
    endpoint = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(endpoint.fileno(), 0x8914, with_flags)
    finally:
        endpoint.close()
