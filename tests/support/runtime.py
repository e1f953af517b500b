"""A low-level runtime as a program, and bundles for it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support import rootfs
from tests.support.programs import Account, Result, eventually

_DEFAULT_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


class Bundle:
    """A directory with a root file system and a configuration, which tests edit as they like: it is written when it is used."""

    def __init__(self, path: Path, root: Path, *, account: Account) -> None:
        self.path = path
        self.rootfs = root
        self.account = account
        self.config: dict[str, Any] = default_config()
        if account.rootless:
            make_rootless(self.config, account)

    @property
    def process(self) -> dict[str, Any]:
        process: dict[str, Any] = self.config["process"]
        return process

    @property
    def linux(self) -> dict[str, Any]:
        linux: dict[str, Any] = self.config["linux"]
        return linux

    def runs(self, *args: str) -> Bundle:
        self.process["args"] = list(args)
        return self

    def script(self, text: str) -> Bundle:
        return self.runs("/bin/sh", "-c", text)

    def mount(self, destination: str, **entry: Any) -> Bundle:
        """Add a mount, in place of one at the same destination."""
        self.config["mounts"] = [mount for mount in self.config["mounts"] if mount["destination"] != destination]
        self.config["mounts"].append({"destination": destination, **entry})
        return self

    def namespace(self, kind: str, path: str | None = None) -> Bundle:
        """Add one, in place of one of the same kind."""
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind} | ({"path": path} if path else {}))
        return self

    def without_namespace(self, kind: str) -> Bundle:
        self.linux["namespaces"] = [one for one in self.linux["namespaces"] if one["type"] != kind]
        return self

    def write(self) -> Path:
        config = self.path / "config.json"
        config.write_text(json.dumps(self.config, indent=1))
        config.chmod(0o644)
        return self.path


def default_config() -> dict[str, Any]:
    """What `runc spec` writes, without a terminal and with limits that lie below anyone's."""
    quiet = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_DEFAULT_CAPABILITIES) for kind in ("bounding", "effective", "permitted", "ambient")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "inside",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            },
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [*quiet, "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": quiet},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*quiet, "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [*quiet, "relatime", "ro"]},
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }


def make_rootless(config: dict[str, Any], account: Account) -> None:
    """As `runc spec --rootless` differs: the own user alone, no cgroup of its own, and /sys of the host."""
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"]["uidMappings"] = [{"containerID": 0, "hostID": account.uid, "size": 1}]
    config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": account.gid, "size": 1}]
    del config["linux"]["resources"]
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
    kept = []
    for mount in config["mounts"]:
        if mount["destination"] == "/sys/fs/cgroup":
            continue
        if mount["destination"] == "/sys":
            mount = {
                "destination": "/sys",
                "type": "none",
                "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            }
        if "options" in mount:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]
        kept.append(mount)
    config["mounts"] = kept


class OciRuntime:
    """One runtime with a state directory of its own, as one user."""

    def __init__(self, name: str, program: str, account: Account, directory: Path) -> None:
        self.name = name
        self.program = program
        self.account = account
        self.directory = directory
        self.root = directory / "root"
        self.flags: tuple[str, ...] = ()
        """Of every call, before the verb."""
        self._made: list[str] = []

    def __repr__(self) -> str:
        return self.name

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--root", str(self.root), *self.flags, *arguments]

    def call(self, *arguments: str, status: int | None = 0, **options: Any) -> Result:
        """One call, from an empty directory. `status=None` takes any exit status."""
        return self.account.run(self.command(*arguments), status=status, **{"cwd": self.directory} | options)

    def needs_spec(self, minor: int) -> None:
        """Skip the test where the runtime was made for a runtime-spec before 1.`minor`."""
        spec = next((line.split()[1] for line in self.call("--version").out.splitlines() if line.startswith("spec:")), "1.0.0")
        if int(spec.split(".")[1]) < minor:
            pytest.skip(f"needs a runtime for runtime-spec 1.{minor}; this is one for {spec}")

    def fails(self, *arguments: str, **options: Any) -> Result:
        result = self.call(*arguments, status=None, **options)
        assert result.status != 0, f"should have failed\n{result}"
        return result

    def identity(self, name: str = "c") -> str:
        """A new id; what was made by it is deleted at the end of the test."""
        made = f"ct-{secrets.token_hex(4)}-{name}"
        self._made.append(made)
        return made

    def run(self, bundle: Bundle, *flags: str, status: int | None = 0, **options: Any) -> Result:
        """In the foreground, to the end."""
        return self.call("run", *flags, "--bundle", str(bundle.write()), self.identity(), status=status, **options)

    def output(self, bundle: Bundle, **options: Any) -> str:
        return self.run(bundle, **options).out

    def create(self, bundle: Bundle, *flags: str, **options: Any) -> str:
        """A created container with no standard streams of ours: nobody waits for the end of a pipe."""
        identity = self.identity()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.call("create", *flags, "--bundle", str(bundle.write()), identity, **quiet | options)
        return identity

    def start(self, bundle: Bundle, *flags: str, **options: Any) -> str:
        """A running one."""
        identity = self.create(bundle, *flags, **options)
        self.call("start", identity)
        return identity

    def state(self, identity: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.call("state", identity).out)
        return state

    def status(self, identity: str) -> str:
        return str(self.state(identity)["status"])

    def pid(self, identity: str) -> int:
        return int(self.state(identity)["pid"])

    def wait_stopped(self, identity: str) -> None:
        eventually(lambda: self.status(identity) == "stopped", f"{identity} stops")

    def exec(self, identity: str, *command: str, flags: tuple[str, ...] = (), status: int | None = 0, **options: Any) -> Result:
        return self.call("exec", *flags, identity, *command, status=status, **options)

    @contextmanager
    def running(self, bundle: Bundle, *flags: str) -> Iterator[str]:
        """A container that waits until the block ends."""
        identity = self.start(bundle, *flags)
        try:
            yield identity
        finally:
            self.call("delete", "--force", identity, status=None)

    def clean(self) -> None:
        for identity in self._made:
            self.call("delete", "--force", identity, status=None)
        self._made.clear()


def new_bundle(directory: Path, account: Account) -> Bundle:
    directory.mkdir()
    root = directory / "rootfs"
    root.mkdir()
    rootfs.fill(root)
    if account.rootless:
        rootfs.give_to(directory, account.uid, account.gid)
    directory.chmod(0o755)
    return Bundle(directory, root, account=account)


def fingerprint(path: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for entry in (path, *sorted(path.rglob("*"))):
        status = entry.lstat()
        content: object = os.readlink(entry) if entry.is_symlink() else entry.read_bytes() if entry.is_file() else None
        found[str(entry)] = (status.st_mode, status.st_uid, status.st_gid, status.st_rdev, content)
    return found


def remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
