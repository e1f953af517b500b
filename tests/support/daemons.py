"""containerd and dockerd for tests: in a mount and a network namespace of their own, on directories of the test run.

What they make lives and dies there: sockets in /run, interfaces, firewall rules, mounts. Only control groups are the host's: tests name a
parent of their own for them. Each daemon is configured by the file that drop-in/ ships, with the path of the runtime under test put in.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support import host
from tests.support.installation import CHECKOUT
from tests.support.programs import SLOW, Account, Result, eventually

_RUNTIME = "/usr/local/bin/crate-runc"
"""What the drop-in files call the runtime."""
CGROUP_PARENT = "crate-test-callers"
"""Of every container of these daemons; the leak check finds what stays in it by the name."""
_SETUP = "mount -t tmpfs -o mode=755 run /run && ip link set lo up && exec sleep infinity"


def drop_in(name: str, runtime: Path) -> str:
    """The text of a file of drop-in/, for the runtime under test."""
    text = (CHECKOUT / "drop-in" / name).read_text()
    assert _RUNTIME in text, name
    return text.replace(_RUNTIME, str(runtime))


class Enclosure:
    """The namespaces, held by a process that sleeps. `run` and `command` are of programs inside."""

    def __init__(self, account: Account) -> None:
        self.account = account
        words = ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", _SETUP]
        self._holder = account.popen(words, stdin=subprocess.DEVNULL)
        self._daemons: list[subprocess.Popen[bytes]] = []
        eventually(lambda: self._comm() == "sleep", "namespaces for the daemons")

    def _comm(self) -> str:
        assert self._holder.poll() is None, "the namespaces of the daemons are gone"
        return Path(f"/proc/{self._holder.pid}/comm").read_text().strip()

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "--target", str(self._holder.pid), "--mount", "--net", *words]

    def run(self, *words: str, status: int | None = 0, input: str | None = None, timeout: float = 60) -> Result:
        return self.account.run(self.command(*words), status=status, input=input, timeout=timeout)

    def start(self, words: Sequence[str], log: Path) -> None:
        """A daemon, ended by `stop`."""
        with open(log, "ab") as output:
            process = self.account.popen(
                self.command(*words), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self._daemons.append(process)

    def alive(self) -> bool:
        return all(daemon.poll() is None for daemon in self._daemons)

    def stop(self) -> None:
        """The daemons in reverse order, then what is left of theirs in the namespace, each by its pid."""
        for daemon in reversed(self._daemons):
            daemon.terminate()
            try:
                daemon.wait(20 * SLOW)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        namespace = os.stat(f"/proc/{self._holder.pid}/ns/mnt").st_ino
        for pid in _members(namespace):
            if pid != self._holder.pid:
                _kill(pid)
        self._holder.kill()
        self._holder.wait()
        _remove_cgroups()


def _members(namespace: int) -> list[int]:
    """The processes of a mount namespace."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat(f"/proc/{entry}/ns/mnt").st_ino == namespace:
                found.append(int(entry))
        except OSError:  # it is gone
            continue
    return found


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _remove_cgroups() -> None:
    """The parent of the containers' control groups, in each hierarchy. It is empty when its containers are gone."""
    deadline = time.monotonic() + 5 * SLOW
    for top in {Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()}:
        for directory, _, _ in os.walk(top / CGROUP_PARENT, topdown=False):
            while True:
                try:
                    os.rmdir(directory)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    assert time.monotonic() < deadline, f"control group {directory} does not become empty"
                    time.sleep(0.05)


class Containerd:
    """With the plugins of Kubernetes' CRI. `socket` is its address, `ctr` its command line."""

    def __init__(self, enclosure: Enclosure, runtime: Path, directory: Path) -> None:
        self.enclosure = enclosure
        self.runtime = runtime
        self.directory = directory
        self.state = directory / "state"
        self.socket = directory / "containerd.sock"
        self.log = directory / "containerd.log"
        directory.mkdir()
        config = directory / "config.toml"
        config.write_text(self._config() + drop_in("containerd/config-v2.toml", runtime))
        self._network()
        enclosure.start([host.program("containerd"), "--config", str(config)], self.log)
        eventually(self._answers, f"containerd answers; see {self.log}", within=30)

    def _config(self) -> str:
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""\
version = 2
root = "{self.directory}/root"
state = "{self.state}"
[grpc]
  address = "{self.socket}"
[{cri}]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [{cri}.cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{self.directory}/cni"
  [{cri}.containerd]
    snapshotter = "native"
    default_runtime_name = "crate"
"""

    def _network(self) -> None:
        """A bridge of the namespace's own, for pods."""
        configuration = self.directory / "cni"
        configuration.mkdir()
        (configuration / "10-pods.conflist").write_text(f"""\
{{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {{"type": "bridge", "bridge": "pods0", "isGateway": true,
    "ipam": {{"type": "host-local", "dataDir": "{self.directory}/leases", "ranges": [[{{"subnet": "10.88.7.0/24"}}]]}}}},
  {{"type": "portmap", "capabilities": {{"portMappings": true}}}}]}}
""")

    def _answers(self) -> bool:
        assert self.enclosure.alive(), self.log.read_text()
        return self.ctr("version", status=None).status == 0

    def ctr(self, *words: str, status: int | None = 0, namespace: str = "default", timeout: float = 60) -> Result:
        return self.enclosure.run(*self.ctr_command(*words, namespace=namespace), status=status, timeout=timeout)

    def ctr_command(self, *words: str, namespace: str = "default") -> list[str]:
        return [host.program("ctr", "containerd"), "--address", str(self.socket), "--namespace", namespace, *words]


class Docker:
    """dockerd on a containerd, without networks of its own but a bridge in the namespace. Calling it is the command line."""

    def __init__(self, containerd: Containerd, directory: Path) -> None:
        self._enclosure = containerd.enclosure
        self.account = self._enclosure.account
        self.socket = directory / "docker.sock"
        self.log = directory / "dockerd.log"
        self.exec_root = directory / "exec"
        directory.mkdir()
        config = directory / "daemon.json"
        shipped = json.loads(drop_in("docker/daemon.json", containerd.runtime))
        config.write_text(json.dumps({**shipped, "deprecated-key-path": str(directory / "key.json")}))
        places = {
            "config-file": config,
            "data-root": directory / "root",
            "exec-root": self.exec_root,
            "pidfile": directory / "pid",
            "containerd": containerd.socket,
            "host": f"unix://{self.socket}",
            "storage-driver": "vfs",
            "cgroup-parent": f"/{CGROUP_PARENT}",
        }
        flags = [word for name, value in places.items() for word in (f"--{name}", str(value))]
        self._enclosure.start([host.program("dockerd", "docker.io"), "--bridge", "none", "--iptables=false", *flags], self.log)
        eventually(self._answers, f"dockerd answers; see {self.log}", within=30)

    def _answers(self) -> bool:
        assert self._enclosure.alive(), self.log.read_text()
        return self("version", status=None).status == 0

    def command(self, *words: str) -> list[str]:
        return self._enclosure.command(host.program("docker", "docker.io"), "--host", f"unix://{self.socket}", *words)

    def __call__(self, *words: str, status: int | None = 0, timeout: float = 60) -> Result:
        return self.account.run(self.command(*words), status=status, timeout=timeout)
