"""Containers through the command line, on a store of its own: as root and as an ordinary user, with each runtime that is installed."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account

REPOSITORY = Path(__file__).resolve().parents[3]
BUSYBOX = "/bin/busybox"
IMAGE = "localhost/busybox:test"
PASSWD = "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000:bob:/home/bob:/bin/sh\n"
GROUP = "root:x:0:\nbob:x:1000:\nextra:x:1001:bob\n"
_LOAD = """
import sys
sys.path.append(sys.argv[1])
from crate_engine.engine import Engine
from crate_engine.pull import load_layout
from crate_engine.reference import Reference
from crate_engine.system import userns
with Engine(root=sys.argv[2], runroot=sys.argv[3]) as engine:
    load_layout(engine.store, sys.argv[4], Reference.parse(sys.argv[5]), user_namespace=userns.choose())
"""


@dataclass(frozen=True)
class Crate:
    """One store, one runtime, one user."""

    home: Path
    runtime: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @property
    def root(self) -> Path:
        return self.home / "data"

    @property
    def runroot(self) -> Path:
        return self.home / "run"

    @property
    def rootless(self) -> bool:
        return self.uid != 0

    def command(self, *arguments: str) -> list[str]:
        python = [sys.executable, "-I", "-S", str(REPOSITORY / "crate_engine" / "__main__.py")]
        return [*python, "--root", str(self.root), "--runroot", str(self.runroot), "--runtime", self.runtime, *arguments]

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), "FROM_CALLER": "yes"}

    def popen(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        return self.start(self.command(*arguments), **options)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[bytes]:
        user = {} if self.uid == os.geteuid() else {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=self.environment(), cwd="/", **user | streams | options)  # type: ignore[call-overload,no-any-return]

    def __call__(self, *arguments: str, input: str | None = None, status: int = 0, timeout: float = 60) -> str:
        """Standard output; the exit status must be `status`."""
        return self.both(*arguments, input=input, status=status, timeout=timeout)[0]

    def both(self, *arguments: str, input: str | None = None, status: int = 0, timeout: float = 60) -> tuple[str, str]:
        process = self.popen(*arguments, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        out, err = process.communicate(None if input is None else input.encode(), timeout=timeout)
        assert process.returncode == status, f"{arguments}: exit status {process.returncode}\n{out.decode()}\n{err.decode()}"
        return out.decode(), err.decode()

    def inspect(self, name: str) -> dict[str, object]:
        document: dict[str, object] = json.loads(self("inspect", name))[0]
        return document

    def state(self, name: str) -> dict[str, object]:
        state = self.inspect(name)["State"]
        assert isinstance(state, dict)
        return state

    def monitor(self, identity: str) -> int:
        state = json.loads((self.runroot / "containers" / identity / "state.json").read_text())
        return int(state["monitor"]["pid"])

    def load(self, layout: Path, name: str) -> None:
        script = [sys.executable, "-c", _LOAD, str(REPOSITORY), str(self.root), str(self.runroot), str(layout), name]
        process = self.start(script)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, (out + err).decode()


def eventually(condition: Callable[[], bool], *, within: float = 10) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not become true"
        time.sleep(0.02)


def image_layout(
    directory: Path,
    files: dict[str, str | bytes],
    config: dict[str, object],
    links: dict[str, str] | None = None,
    fifos: tuple[str, ...] = (),
) -> Path:
    """An OCI layout of one image with one layer; a name in `files` that ends with a slash is a directory, `links` are symbolic."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            entry.mode = 0o755
            data = content.encode() if isinstance(content, str) else content
            entry.type, entry.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, len(data))
            tar.addfile(entry, io.BytesIO(data))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name in fifos:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.FIFOTYPE
            tar.addfile(entry)
    layer = stream.getvalue()
    (directory / "blobs" / "sha256").mkdir(parents=True)

    def blob(content: bytes, media_type: str) -> dict[str, object]:
        digest = sha256(content).hexdigest()
        (directory / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(content)}

    layer_descriptor = blob(layer, "layer.v1.tar")
    document = {
        "os": "linux",
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [layer_descriptor["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(document).encode(), "config.v1+json"),
        "layers": [layer_descriptor],
    }
    index = {"schemaVersion": 2, "manifests": [blob(json.dumps(manifest).encode(), "manifest.v1+json")]}
    (directory / "index.json").write_text(json.dumps(index))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return directory


def busybox_files() -> dict[str, str | bytes]:
    directories: dict[str, str | bytes] = dict.fromkeys(("bin/", "etc/", "tmp/", "root/", "run/", "run/kept/"), "")
    return directories | {"bin/busybox": Path(BUSYBOX).read_bytes(), "etc/passwd": PASSWD, "etc/group": GROUP}


def busybox_links() -> dict[str, str]:
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    return {f"bin/{name}": "busybox" for name in applets if name != "busybox"}


@pytest.fixture(scope="session")
def busybox_layout() -> Iterator[Path]:
    probe = subprocess.run([BUSYBOX, "true"], capture_output=True) if os.path.exists(BUSYBOX) else None
    if probe is None or probe.returncode:
        pytest.skip("needs a static busybox (package busybox-static)")
    with tempfile.TemporaryDirectory() as temporary:
        os.chmod(temporary, 0o755)
        config: dict[str, object] = {
            "Cmd": ["sh"],
            "Env": ["PATH=/bin", "FROM_IMAGE=yes"],
            "Labels": {"org.example.title": "test"},
            "StopSignal": "SIGUSR1",
        }
        yield image_layout(Path(temporary) / "layout", busybox_files(), config, busybox_links())


@pytest.fixture(scope="session", params=["crate-runc", "runc"])
def store(request: pytest.FixtureRequest, account: Account, busybox_layout: Path) -> Iterator[Crate]:
    runtime = request.param
    if runtime != "crate-runc":
        host.program(runtime)
    uid, gid, groups = account.uid, account.gid, account.groups
    # A path longer than the address of a unix socket may be.
    home = Path(tempfile.mkdtemp(prefix="crate-", suffix="-" + "long" * 12))
    os.chown(home, uid, gid)
    os.chmod(home, 0o700)
    crate = Crate(home, runtime, uid, gid, groups)
    try:
        crate.load(busybox_layout, IMAGE)
        yield crate
    finally:
        if os.geteuid() == 0:
            shutil.rmtree(home)
        else:
            subprocess.run(["unshare", "-Ur", "rm", "-rf", str(home)], check=False)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def crate(store: Crate) -> Iterator[Crate]:
    """A store with the image IMAGE and no container, which must leave nothing behind but that."""
    yield store
    left = store("ps", "-aq", "--no-trunc").split()
    for identity in left:
        store("rm", "-f", identity)
    eventually(lambda: not _leftovers(store), within=5)


def _leftovers(crate: Crate) -> list[str]:
    """Processes, mounts, cgroups and files of containers that are gone."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(crate.home).encode() in path.read_bytes():
                found.append(f"process {path.parent.name}")
        except OSError:
            continue
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(crate.home) in line]
    for directory in ("containers", "names", "trash"):
        path = crate.root / directory
        found += [str(entry) for entry in path.iterdir()] if path.exists() else []
    for directory in ("containers", "runtime"):
        path = crate.runroot / directory
        found += [str(entry) for entry in path.iterdir()] if path.exists() else []
    return found
