"""Where a benchmark runs: an installation of the checkout, a directory in memory, the peers that are here, and a user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Failed, Runner, last_line
from crate_engine import embedded
from crate_engine.embedded import amd64, arm64, image, program

CHECKOUT = Path(__file__).resolve().parents[1]
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINES = {"x86_64": amd64, "aarch64": arm64}


@dataclass(slots=True)
class Place:
    """`label` says who runs the commands: root, or an ordinary user."""

    label: str
    bin: Path
    """Where the launchers are."""
    directory: Path
    """In memory, owned by the user, empty at first."""
    runner: Runner
    notes: list[str] = field(default_factory=list)

    @property
    def rootless(self) -> bool:
        return os.geteuid() != 0

    def peer(self, name: str) -> str | None:
        """The path of a peer's program; its absence becomes a note."""
        found = shutil.which(name, path=_PATH)
        if found is None:
            self.note(f"{name} is not installed: no figures of it")
        return found

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def environment(home: Path, runtime_directory: Path) -> dict[str, str]:
    """What a login gives, less what differs between people."""
    entry = pwd.getpwuid(os.geteuid())
    return {
        "PATH": _PATH,
        "HOME": str(home),
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "XDG_RUNTIME_DIR": str(runtime_directory),
        "LANG": "C.UTF-8",
    }


@contextmanager
def memory_directory() -> Iterator[Path]:
    """A new directory in a tmpfs where there is one that programs can be started from, which others can enter."""
    made = Path(tempfile.mkdtemp(prefix="bench-", dir=next(filter(_in_memory, _candidates()), None)))
    made.chmod(0o755)
    try:
        yield made
    finally:
        _unmount_below(made)
        remove_tree(made)


def remove_tree(tree: Path) -> None:
    """Unpacked without root, a tree has directories that not even its owner may write; overlays leave such ones too."""
    for folder, _, _ in os.walk(tree):
        with suppress(OSError):
            os.chmod(folder, 0o700)
    shutil.rmtree(tree, ignore_errors=True)


def _unmount_below(directory: Path) -> None:
    """podman leaves its store mounted onto itself."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        point = line.split()[4]
        if point.startswith(f"{directory}/"):
            subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL)


def _candidates() -> list[str]:
    return [os.environ.get("TMPDIR", ""), "/dev/shm", os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp"]


def _in_memory(path: str) -> bool:
    if not os.path.isdir(path) or not os.access(path, os.W_OK | os.X_OK):
        return False
    kind = subprocess.run(["stat", "--file-system", "--format=%T", path], capture_output=True, text=True).stdout.strip()
    return kind == "tmpfs" and not os.statvfs(path).f_flag & os.ST_NOEXEC


def install(directory: Path) -> Path:
    """`pip install` of the checkout into a new environment, as users do; returns its bin. Raises Failed."""
    python = directory / "bin" / "python3"
    for command in (
        [sys.executable, "-m", "venv", str(directory)],
        [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", f"{CHECKOUT}[speed]"],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Failed(
                f"install crate: {last_line(done.stderr or done.stdout)}; --bin DIRECTORY takes an installation that is there"
            )
    return python.parent


def make_place(label: str, bin_directory: Path, directory: Path) -> Place:
    for name in ("home", "run", "scratch"):
        (directory / name).mkdir(mode=0o700)
    runner = Runner(environment(directory / "home", directory / "run"), directory / "scratch", _python(bin_directory))
    try:
        runner.call(str(bin_directory / "crate-runc"), "--version")
    except (Failed, OSError) as failure:
        hint = "/usr/bin/python3 benchmarks/run installs with a Python that every user can execute"
        raise Failed(f"{label} cannot run {bin_directory}/crate-runc: {failure}; {hint}") from None
    return Place(label, bin_directory, directory, runner)


def _python(bin_directory: Path) -> Path:
    """The one that the launcher takes: the environment's own may lie where an ordinary user cannot enter."""
    return next(path for path in (bin_directory / "python3", Path("/usr/bin/python3")) if os.access(path, os.X_OK))


def write_program(path: Path) -> None:
    """The program of the embedded image, for this machine: `exit 0` does nothing, `sleep` waits."""
    path.write_bytes(program.executable(_MACHINES[os.uname().machine]))
    path.chmod(0o755)


def write_image(directory: Path) -> str:
    """The embedded image as an OCI layout; returns its name in it."""
    directory.mkdir()
    image.write(str(directory), embedded.NAME)
    return embedded.NAME
