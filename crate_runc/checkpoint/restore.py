"""restore: a container out of the images of a checkpoint and a bundle (criu-restore(8)); it is then running, as if it had been started.

criu makes the namespaces, mounts and processes. Here are the cgroup, which criu itself is moved to so that all it makes is born there, the
mount points, what of the host belongs in it, the hooks of its creation, and its state.
"""

from __future__ import annotations

import os
import stat

from crate_runc import config as configuration
from crate_runc import lifecycle
from crate_runc.checkpoint import conversation, external, options, request
from crate_runc.checkpoint.dump import DESCRIPTORS, Places
from crate_runc.creation import Creation
from crate_runc.errors import BundleError, RuncError, reason
from crate_runc.handover import write_pid_file
from crate_runc.kernel import mount, namespaces, path, signals
from crate_runc.process import notify_socket
from crate_runc.process.parent import Init
from crate_runc.state import store as state_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from crate_runc.checkpoint.request import Answer
    from crate_runc.options import Options
    from crate_runc.state.store import StateStore

    Values = dict[str, Any]

_LOG = "restore.log"
_ROOT = "criu-root"


class Restored(Init):
    """A process that criu made and that is our child."""

    __slots__ = ()

    def __init__(self, pid: int, terminal: int) -> None:
        self._forker = 0
        self.on_listener = None
        self.fd = -1
        self.terminal = terminal
        self.adopt(pid)

    def kill(self) -> None:
        _kill(self.pid)

    def close(self) -> None:
        for fd in (self.fd, self.terminal):
            if fd >= 0:
                os.close(fd)
        self.fd = self.terminal = -1


def run(store: StateStore, container_id: str, bundle_path: str, wanted: Options, values: Values, criu: str) -> int:
    """As `run` is. `values` are the flags, `criu` what --criu names. Raises RuncError; nothing is left of the container then."""
    program, _ = conversation.check(criu)
    image = options.image_directory(values, make=False)
    if not os.path.isdir(image):
        raise RuncError(f"restore: no images in {image}: not a directory")
    if not wanted.detach and not wanted.no_subreaper:
        from crate_runc.kernel import prctl

        prctl.set_subreaper(True)
    with Creation(store, container_id, bundle_path, wanted) as creation:
        init = _Restoration(creation, program, image, values).make()
    if wanted.detach:
        init.close()
        return 0
    from crate_runc.process import foreground

    try:
        status = foreground.wait(init)
    finally:
        init.close()
    lifecycle.delete(store, container_id, force=True)
    return status


class _Restoration:
    """One conversation with criu, and what its notifications cause."""

    __slots__ = ("_creation", "_image", "_program", "_terminal", "_values")

    def __init__(self, creation: Creation, program: str, image: str, values: Values) -> None:
        self._creation = creation
        self._program = program
        self._image = image
        self._values = values
        self._terminal = -1

    def make(self) -> Restored:
        """When this fails, nothing is left of the container."""
        creation, init = self._creation, None
        state = creation.state
        try:
            creation.entry.save(state)
            notify_socket.make_directory(creation.entry.directory)
            creation.group.create()
            state.pid = self._ask()
            init = Restored(state.pid, self._terminal)
            state.boot_id = state_store.boot_id()
            state.start_time = state_store.start_time(init.pid) or 0
            state.cgroup_paths = creation.group.paths
            state.move_to("created")
            state.move_to("running")
            creation.entry.save(state)
            if creation.options.pid_file:
                write_pid_file(creation.options.pid_file, init.pid)
        except BaseException:
            _kill(state.pid)
            if init:
                init.close()
            creation.undo(started=True)
            raise
        return init

    def _ask(self) -> int:
        """The pid of the restored process."""
        root = os.path.join(self._creation.entry.directory, _ROOT)
        os.mkdir(root, 0o755)
        try:
            _bind_privately(self._creation.bundle.rootfs, root)
            try:
                return self._ask_for(root)
            finally:
                mount.unmount(root)
        finally:
            os.rmdir(root)

    def _ask_for(self, root: str) -> int:
        bundle = self._creation.bundle
        wanted = options.common(self._values, bundle.config.get("annotations", {}))
        wanted |= {name: self._values[flag] for flag, name in _TEXTS.items() if self._values.get(flag)}
        wanted |= {"root": root, "rst_sibling": True, "evasive_devices": True}
        _make_mount_points(bundle.config, bundle.path, bundle.rootfs)
        opened, keys = _descriptors(self._image)
        opened += self._namespaces(wanted, keys)
        directories = options.Directories(self._image, self._values.get("work-path", ""), _LOG)
        wanted |= {"inherit_fd": keys, **directories.options}
        try:
            answer = conversation.ask(
                self._program,
                b"",
                listener=self._hear,
                inherited=opened,
                before=lambda pid: request.encode(request.RESTORE, {**wanted, **self._join(pid)}),
            )
        except RuncError as error:
            raise conversation.with_log(error, directories.log) from None
        finally:
            directories.close()
            for fd in opened:
                os.close(fd)
        return answer.pid

    def _join(self, pid: int) -> dict[str, Any]:
        """criu enters the container's cgroup, and takes its own cgroups for the roots of those in the images. Mounts of the cgroup are known
        from here on, too."""
        creation = self._creation
        group, bundle = creation.group, creation.bundle
        group.join(pid)
        group.apply(bundle.config.get("linux", {}).get("resources", {}))
        places = Places(bundle.rootfs)
        mounts = external.mounts_to_restore(bundle.config, bundle.path, group.paths, places)
        places.close()
        if not os.environ.get(notify_socket.VARIABLE):  # else it is among the mounts; the container may have been made with one
            mounts.append(f"mnt[{notify_socket.INSIDE}]:{creation.entry.directory}/{notify_socket.NAME}")
        with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
            own = [line.rstrip("\n").split(":", 2) for line in file]
        return {"external": mounts, "cg_root": [{"ctrl": controllers, "path": directory} for _, controllers, directory in own]}

    def _namespaces(self, wanted: dict[str, Any], keys: list[dict[str, Any]]) -> list[int]:
        """Add those given by path to the request; the descriptors that were opened for it."""
        opened = []
        for kind, place in external.namespaces_by_path(self._creation.bundle.config).items():
            key, joined = external.inherited_namespace(kind), external.joined_namespace(kind, place)
            if key:
                opened.append(_open(place, f"restore: open the {kind} namespace"))
                keys.append({"key": key, "fd": opened[-1]})
            elif joined:
                wanted.setdefault("join_ns", []).append(joined)
            else:
                raise BundleError("linux.namespaces", f"criu cannot enter the {kind} namespace {place}")
        return opened

    def _hear(self, answer: Answer, fds: list[int]) -> None:
        if answer.script == "orphan-pts-master" and fds:
            self._terminal = fds.pop(0)
            if self._creation.options.console_socket:
                self._send_terminal()
        elif answer.script == "post-restore":
            self._creation.state.pid = answer.pid  # ours to end, whatever comes
        elif answer.script == "setup-namespaces":
            self._run_hooks(answer.pid)
        for fd in fds:
            os.close(fd)

    def _send_terminal(self) -> None:
        from crate_runc.kernel import unix_socket

        place = self._creation.options.console_socket
        try:
            receiver = unix_socket.connect(place)
            unix_socket.send_descriptor(receiver, b"/dev/ptmx", self._terminal)
            receiver.close()
        except OSError as error:
            raise RuncError(f"send the terminal to {place}: {reason(error)}") from None
        finally:
            os.close(self._terminal)
            self._terminal = -1

    def _run_hooks(self, pid: int) -> None:
        kinds = self._creation.bundle.config.get("hooks", {})
        if not (kinds.get("prestart") or kinds.get("createRuntime")):
            return
        from crate_runc.steps import hooks

        value = self._creation.state.as_state_json("creating")
        names = ("ociVersion", "id", "status", "bundle", "annotations")
        state = {**{name: value[name] for name in names if name in value}, "pid": pid}
        for kind in ("prestart", "createRuntime"):
            for entry in kinds.get(kind, []):
                hooks.run(kind, entry, state)


def _kill(pid: int) -> None:
    if not pid:
        return
    try:
        os.kill(pid, signals.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


_TEXTS = {"lsm-profile": "lsm_profile", "lsm-mount-context": "lsm_mount_context"}


def _descriptors(image: str) -> tuple[list[int], list[dict[str, Any]]]:
    """Our stdin, stdout and stderr in place of those that led out of the container at the checkpoint, as descriptors of their own that the
    caller closes, and criu's keys for them. Images without the file need none."""
    place = os.path.join(image, DESCRIPTORS)
    if not os.path.exists(place):
        return [], []
    names = configuration.read_json(place)
    keys: dict[str, int] = {}
    for fd, name in enumerate(names[:3] if isinstance(names, list) else []):
        key, _, file = name.partition(" ") if isinstance(name, str) else ("", "", "")
        if key.startswith(("pipe:[", "socket:[", "file[")) and key not in keys:
            keys[key] = _open_null() if file == "/dev/null" else os.dup(fd)
    return list(keys.values()), [{"key": key, "fd": fd} for key, fd in keys.items()]


def _open_null() -> int:
    """What was the null device stays one, whatever ours are: criu insists on the same kind of file. Open both ways, as stdin and stdout may share
    the key."""
    return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def _bind_privately(directory: str, point: str) -> None:
    """criu wants a root that is a mount point. This process leaves the host's mount namespace for that, so that nothing stays behind when it is
    killed; and all that criu is given must be opened afterwards, as it mounts in its work directory."""
    try:
        namespaces.unshare(namespaces.NEWNS)
        mount.mount(None, "/", None, mount.MS_SLAVE | mount.MS_REC)
        mount.mount(
            None, "/", None, mount.MS_SHARED | mount.MS_REC
        )  # criu gives a bind of a shared mount the group of its source
        mount.mount(directory, point, None, mount.MS_BIND | mount.MS_REC)
    except OSError as error:
        raise RuncError(f"restore: bind {directory} on {point}: {reason(error)}") from None


def _make_mount_points(config: dict[str, Any], bundle: str, rootfs: str) -> None:
    """A rootfs that was never run in has none. What lies in a bound directory is made there, through the mount that criu will make."""
    root = _open(rootfs, "restore: open the root file system")
    try:
        if config["root"].get("readonly"):
            os.close(path.make_directory_in_root(root, "/tmp"))  # where criu puts the old root while it changes to this one
        for destination, source in external.bind_points(config):
            try:
                is_directory = stat.S_ISDIR(os.stat(os.path.join(bundle, source)).st_mode)
                make = path.make_directory_in_root if is_directory else path.make_file_in_root
                os.close(make(root, destination))
            except OSError as error:
                raise RuncError(f"restore: make the mount point {destination} of {source}: {reason(error)}") from None
    finally:
        os.close(root)


def _open(place: str, what: str) -> int:
    try:
        return os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RuncError(f"{what} {place}: {reason(error)}") from None
