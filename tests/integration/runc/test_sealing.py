"""The runtime's executable is the host's Python: nobody in a container can write to it (CVE-2019-5736), whichever seal the host allows.

Attackers with more and more capabilities watch the processes that come into their pid namespace. The victim is a copy of the interpreter, so that
an attack that succeeds does no harm to the machine; that the attack works at all is shown on a program that is not sealed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.test_process import CAPABILITIES
from tests.support import host, installation, lacking
from tests.support.programs import eventually
from tests.support.runtime import Bundle, OciRuntime, new_bundle

_VERSION = f"python{host.python_version()}"
_DEFAULT = """
CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE
"""
TRUE = ("/bin/busybox", "true")
ATTACKERS = ("default", "ptrace", "all")


class Victim:
    """A copy of the interpreter that crate-runc is started with."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = self.digest()

    def digest(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def victim(base: Path) -> Victim:
    """As `python -m venv --copies` makes it: the launcher takes the Python beside it."""
    prefix = base / "sealing"
    bin_directory = installation.install(prefix)
    python = Path(os.path.realpath(sys.executable))
    for name in (_VERSION, "python3", "python"):
        (bin_directory / name).unlink()
    shutil.copy(python, bin_directory / _VERSION)
    (prefix / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    done = subprocess.run([bin_directory / "crate-runc", "--version"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs a Python that works when it is copied: {done.stderr.strip()}")
    return Victim(bin_directory / _VERSION)


@pytest.fixture
def runtime_program(victim: Victim) -> tuple[str, str]:
    return "crate-runc", str(victim.path.parent / "crate-runc")


def capabilities(kind: str) -> list[str]:
    if kind == "all":
        everything = host.capabilities("CapPrm")
        return [f"CAP_{name}" for number, name in enumerate(CAPABILITIES.split()) if everything >> number & 1]
    return [f"CAP_{name}" for name in (*_DEFAULT.split(), *(["SYS_PTRACE"] if kind == "ptrace" else []))]


class Watched:
    """A container in which an attacker watches, and what it found when the block has ended."""

    def __init__(self, identity: str, pid: int) -> None:
        self.identity = identity
        self.pid = pid
        self.found: dict[str, Any] = {}


@contextmanager
def attacked(runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str) -> Iterator[Watched]:
    """The attacker is a program of the host's Python, from directories that are mounted read-only."""
    out = runtime.directory / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    python = os.path.realpath(sys.executable)
    for directory in ("/usr", "/lib", "/lib64", sys.base_prefix, str(installation.CHECKOUT / "tests/support")):
        if os.path.isdir(directory):
            inside = "/attack" if directory.endswith("tests/support") else directory
            bundle.mount(inside, type="bind", source=os.path.realpath(directory), options=["bind", "ro"])
    bundle.mount("/out", type="bind", source=str(out), options=["bind"])
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), capabilities(attacker))
    bundle.process["noNewPrivileges"] = False
    status = victim.path.stat()
    bundle.runs(python, "-I", "-S", "/attack/seal_attack.py", "/out", str(status.st_size), str(status.st_ino))
    with runtime.running(bundle) as identity:
        eventually((out / "ready").exists, "the attacker is ready")
        watched = Watched(identity, runtime.pid(identity))
        yield watched
        (out / "stop").touch()
        eventually((out / "found").exists, "the attacker has ended", within=20)
    watched.found = json.loads((out / "found").read_text())


def held(watched: Watched, victim: Victim, *, seen: bool = True) -> None:
    assert not seen or watched.found["opened"] + watched.found["denied"] > 0, "the attacker saw nothing"
    assert watched.found["written"] == []
    assert not [path for path in watched.found["writable"] if not path.startswith("/memfd:")]
    assert victim.digest() == victim.before


def second_bundle(runtime: OciRuntime, watched: Watched) -> Bundle:
    """One whose container is in the attacker's pid namespace."""
    bundle = new_bundle(runtime.directory / "second", runtime.account)
    return bundle.namespace("pid", f"/proc/{watched.pid}/ns/pid").runs(*TRUE)


# What a host may lack, or refuse: with each, another way to seal is taken.
NO_MEMORY = "no files in memory"
FALLBACKS: dict[str, tuple[str, ...]] = {
    "as it is": (),
    "no clone of directories": ("open_tree", "mount_setattr"),
    "no execution by descriptor": ("execveat",),
    NO_MEMORY: ("memfd_create",),
    "no clone, no execution by descriptor": ("open_tree", "mount_setattr", "execveat"),
}


@contextmanager
def falling_back(runtime: OciRuntime, fallback: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The calls do not exist for the runtime; for the attacker, who is there already, they do."""
    plain, calls = runtime.command, FALLBACKS[fallback]
    prefix = [sys.executable, lacking.__file__, str(errno.ENOSYS), ",".join(calls)] if calls else []
    with monkeypatch.context() as patch:
        patch.setattr(runtime, "command", lambda *arguments: [*prefix, *plain(*arguments)])
        yield


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("attacker", ATTACKERS)
def test_exec(
    runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str, fallback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attacked(runtime, bundle, victim, attacker) as watched, falling_back(runtime, fallback, monkeypatch):
        for _ in range(12 if FALLBACKS[fallback] else 60):
            result = runtime.exec(watched.identity, *TRUE, status=None)
            assert result.status == 0, result
        runtime.exec(watched.identity, "nosuch", status=None)
    held(watched, victim, seen=result.status == 0)
    assert watched.found["roots"] == []
    assert watched.found["directories"] == []


@pytest.mark.parametrize("fallback", FALLBACKS)
@pytest.mark.parametrize("attacker", ATTACKERS)
def test_run_in_a_pid_namespace_that_is_joined(
    runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str, fallback: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with attacked(runtime, bundle, victim, attacker) as watched, falling_back(runtime, fallback, monkeypatch):
        second = second_bundle(runtime, watched)
        for _ in range(6):
            runtime.run(second)
    held(watched, victim)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_create_exec_and_hooks_in_a_pid_namespace_that_is_joined(
    runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str
) -> None:
    """The program of the hooks is a copy, too."""
    with attacked(runtime, bundle, victim, attacker) as watched:
        second = second_bundle(runtime, watched)
        program = runtime.directory / "busybox"
        shutil.copy(bundle.rootfs / "bin/busybox", program)
        inside = {"path": "/bin/busybox", "args": ["busybox", "sleep", "0.05"]}
        second.config["hooks"] = {
            "createRuntime": [{**inside, "path": str(program)}],
            "createContainer": [{"path": str(program), "args": ["true"]}],
            "startContainer": [inside],
        }
        for _ in range(3):
            identity = runtime.create(second.runs("/bin/busybox", "sleep", "1000"))
            runtime.call("start", identity)
            runtime.exec(identity, "true")
            runtime.call("delete", "--force", identity)
    watched.found["writable"] = [path for path in watched.found["writable"] if not path.endswith("/busybox")]
    held(watched, victim)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_exec_of_an_ordinary_user(rootless_runtime: OciRuntime, rootless_bundle: Bundle, victim: Victim, attacker: str) -> None:
    """Who is root in the container owns the interpreter that the user has installed."""
    os.chown(victim.path, rootless_runtime.account.uid, rootless_runtime.account.gid)
    with attacked(rootless_runtime, rootless_bundle, victim, attacker) as watched:
        for _ in range(12):
            rootless_runtime.exec(watched.identity, *TRUE)
    held(watched, victim)


@pytest.mark.parametrize("attacker", ["ptrace", "all"])
def test_attack_succeeds_where_nothing_is_sealed(runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str) -> None:
    """The look-alike: a copy of the victim that a process of the host runs in the attacker's pid namespace."""
    copy = runtime.directory / "unsealed"
    shutil.copy(victim.path, copy)
    unsealed = Victim(copy)
    with attacked(runtime, bundle, unsealed, attacker) as watched:
        enter = [host.program("nsenter", "util-linux"), f"--pid=/proc/{watched.pid}/ns/pid", str(copy)]
        for _ in range(
            10
        ):  # the attacker looks again and again, and needs luck as well; it has won where the copy does not run any more
            shown = [*enter, "-S", "-c", "import time; time.sleep(0.3)"]
            if subprocess.run(shown, env={"PYTHONHOME": sys.base_prefix}).returncode:
                break
    assert str(copy) in watched.found["written"]
    assert unsealed.digest() != unsealed.before


def hook_of_the_image(runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str) -> None:
    """The image's hook looks at the process that waits to become its program; its child keeps what it opened, and tries again afterwards."""
    out = runtime.directory / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    bundle.mount("/out", type="bind", source=str(out), options=["bind"])
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), capabilities(attacker))
    bundle.process["noNewPrivileges"] = False
    again = "i=0; while [ $i -lt 40 ]; do true >> /proc/self/fd/9 && echo written > /out/written; sleep 0.02; i=$((i+1)); done; echo > /out/done"
    script = f"(: < /proc/1/exe) || {{ echo > /out/done; exit 0; }}; exec 9</proc/1/exe; readlink /proc/1/exe > /out/seen; ({again}) > /dev/null 2>&1 & exit 0"
    bundle.config["hooks"] = {
        "startContainer": [{"path": "/bin/busybox", "args": ["busybox", "sh", "-c", script], "env": ["PATH=/bin"]}]
    }
    with runtime.running(bundle.runs("/bin/busybox", "sleep", "1000")):
        eventually((out / "done").exists, "the attacker has ended", within=20)
    assert not (out / "written").exists(), (out / "seen").read_text()
    assert victim.digest() == victim.before


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_hook_of_the_image_before_the_program_starts(runtime: OciRuntime, bundle: Bundle, victim: Victim, attacker: str) -> None:
    hook_of_the_image(runtime, bundle, victim, attacker)


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_hook_of_the_image_of_an_ordinary_user(
    rootless_runtime: OciRuntime, rootless_bundle: Bundle, victim: Victim, attacker: str
) -> None:
    os.chown(victim.path, rootless_runtime.account.uid, rootless_runtime.account.gid)
    hook_of_the_image(rootless_runtime, rootless_bundle, victim, attacker)
