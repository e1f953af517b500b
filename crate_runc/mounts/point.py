"""Where a mount goes: a destination of config.json, opened once inside the root, and what is attached there by descriptor.

runtime-spec, config.md "Mounts": missing destinations are made, relative ones start at the root. Not below /proc, but for the files that
programs such as lxcfs fill in; /proc and /sys themselves must be plain directories (CVE-2019-16884, CVE-2019-19921).
"""

from __future__ import annotations

import errno
import os
import stat

from crate_runc.errors import StepError
from crate_runc.kernel import mount, path
from crate_runc.kernel.libc import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.mounts.options import MountOptions
    from crate_runc.steps.step import ChildContext

_PLAIN = ("/proc", "/sys")
_ROOT_INODE = 1  # of procfs, sysfs
_IN_PROC = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
)


def open_target(child: ChildContext, destination: str, *, is_directory: bool) -> int:
    """An O_PATH descriptor of the destination, made where it is missing. Raises OSError, StepError; the caller closes it."""
    top = place_of(destination)
    if top == "/":
        raise StepError("mount", errno.EINVAL, f"mount on {destination}: the root itself cannot be a mount destination")
    if top in _PLAIN:
        return _open_plain_directory(child.root, top[1:])
    _check_proc(top)
    flags = os.O_PATH | (os.O_DIRECTORY if is_directory else 0)
    try:
        return path.open_in_root(child.root, destination, flags, links=False)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
            raise
    make = path.make_directory_in_root if is_directory else path.make_file_in_root
    target = make(child.root, destination)
    try:
        _check_proc(_inside(child.root, target))
    except BaseException:
        os.close(target)
        raise
    return target


def check_name(root: int, directory: int, name: str) -> None:
    """Raises StepError where nothing may be mounted on `name` in an open directory, which may be anywhere in the root."""
    place = f"{_inside(root, directory)}/{name}"
    _check_proc(place)
    if place in _PLAIN:
        raise StepError("mount", errno.ENOTDIR, f"mount on {place}: must be a directory, not a link or a file")


def _check_proc(place: str) -> None:
    if place.startswith("/proc/") and place not in _IN_PROC:
        raise StepError("mount", errno.EPERM, f'"{place}" cannot be mounted because it is inside /proc')


def _inside(root: int, target: int) -> str:
    """The name of `target` as the container sees it, after all links. Both are named by the kernel, as they are now."""
    top, place = (os.readlink(f"/proc/self/fd/{fd}") for fd in (root, target))
    return place[len(top) :] if place.startswith(top) else place


def _open_plain_directory(root: int, name: str) -> int:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=root)
    except FileNotFoundError:
        os.mkdir(name, 0o755, dir_fd=root)
        return os.open(name, flags, dir_fd=root)
    except OSError as error:
        raise StepError("mount", error.errno or 0, f"mount on /{name}: must be a directory, not a link or a file") from None


def place_of(destination: str) -> str:
    """The destination without what does not matter in it. Two slashes at the start would stay."""
    return os.path.normpath("/" + destination.lstrip("/"))


def tree_key(place: str) -> tuple[str, str]:
    """Of the descriptor in child.fds of what is mounted on /proc or /sys. Names in a root that others can write to may be exchanged at any time:
    what is masked below is found from there, not by name."""
    return ("tree", place)


def keep_kernel_tree(child: ChildContext, place: str, magic: int) -> None:
    """After a file system of the kernel was mounted on /proc or /sys. Raises OSError where another one is there by now."""
    tree = os.open(place[1:], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=child.root)
    if mount.magic(tree) != magic or os.fstat(tree).st_ino != _ROOT_INODE:
        os.close(tree)
        raise OSError(errno.EBUSY, "something else took its place meanwhile")
    child.fds[tree_key(place)] = tree


def clone_source(source: str, destination: str, *, recursive: bool, follow: bool = True) -> int:
    """A detached clone of a path of the host. Raises StepError."""
    try:
        return mount.clone_tree(AT_FDCWD, source, recursive=recursive, follow=follow)
    except OSError as error:
        text = f'error mounting "{source}" to rootfs at "{destination}": stat {source}: {(error.strerror or "").lower()}'
        raise StepError("mount", error.errno or 0, text) from None


def attach(tree: int, target: int, options: MountOptions) -> None:
    """Give a detached tree its attributes and put it in place. Raises OSError; both descriptors stay open."""
    if options.add or options.clear:
        mount.set_attributes(tree, add=options.add, clear=options.clear)
    if options.add_recursive or options.clear_recursive:
        mount.set_attributes(tree, add=options.add_recursive, clear=options.clear_recursive, recursive=True)
    mount.attach(tree, target)
    for flag in options.propagation:
        mount.mount_on(tree, None, None, flag)


def bind_tree(child: ChildContext, tree: int, source: str, destination: str, options: MountOptions) -> None:
    """Attach a detached tree to `destination`, made as a directory or a file as the tree's root is one; `source` is for errors. Raises
    StepError."""
    is_directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    try:
        target = open_target(child, destination, is_directory=is_directory)
        try:
            if not is_directory and stat.S_ISDIR(os.fstat(target).st_mode):  # the kernel says EINVAL
                raise OSError(errno.ENOTDIR, "not a directory: a file cannot be mounted on a directory")
            if place_of(destination) == "/proc" and mount.magic(tree) != mount.PROC_MAGIC:
                raise StepError("mount", errno.EINVAL, f'"{destination}" cannot be mounted because it is not of type proc')
            attach(tree, target, options)
            if place_of(destination) in _PLAIN:
                child.fds[tree_key(place_of(destination))] = os.dup(tree)
        finally:
            os.close(target)
    except OSError as error:
        raise named(source, destination, error) from None


def named(source: str, destination: str, error: OSError) -> StepError:
    """runc's words, and below the destination, where it was."""
    where = str(error.filename or "")
    detail = f"{where}: " if where.startswith(os.path.normpath("/" + destination) + "/") else ""
    text = f'error mounting "{source}" to rootfs at "{destination}": {detail}{(error.strerror or str(error)).lower()}'
    return StepError("mount", error.errno or 0, text)
