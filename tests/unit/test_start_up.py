"""What each command loads before it is done: start-up is the product, and an import is its unit of cost.

The commands are real ones, on a container of the embedded image. What is counted is sys.modules of the command's own process at its end.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import host

CHECKOUT = Path(__file__).resolve().parents[2]
CHEAP = frozenset(
    (
        *(
            "os",
            "sys",
            "errno",
            "fcntl",
            "signal",
            "socket",
            "struct",
            "stat",
            "select",
            "time",
            "ctypes",
            "marshal",
            "array",
            "termios",
        ),
        *("gc", "resource", "__future__", "_ctypes", "_json", "_signal", "_socket", "_stat", "_struct", "_thread"),
    )
)
"""What crate-runc may load besides its own modules and what the module os brings."""
DEAR = frozenset(
    (
        *(
            "typing",
            "dataclasses",
            "argparse",
            "pathlib",
            "subprocess",
            "logging",
            "tempfile",
            "inspect",
            "ast",
            "asyncio",
            "tarfile",
        ),
        *("ssl", "http", "email", "urllib", "concurrent", "multiprocessing", "requests", "urllib3", "typer", "click", "rich"),
        *("jsonschema", "referencing", "yaml", "isal"),
    )
)
"""What no command on the way to a running container may load: 5 to 140 ms each."""
TELL = """
import os, sys
def end(status, leave=os._exit):
    sys.stdout.flush()
    with open(os.environ["TELL"], "a") as file:
        file.write(" ".join([str(os.getpid())] + list(sys.modules)) + "\\n")
    leave(status)
os._exit = end
sys.argv[:2] = sys.argv[1:2]
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
"""


class Program:
    """A package, started as its launcher starts it."""

    def __init__(self, package: str, directory: Path, *flags: str) -> None:
        self._main = CHECKOUT / package / "__main__.py"
        self._told = directory / "modules"
        self._flags = flags
        self._directory = directory

    def modules(self, *words: str, status: int = 0) -> set[str]:
        """Run one command; the modules that it had loaded when it ended, without those of a bare interpreter."""
        self._told.unlink(missing_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "CRATE_CONFIG": os.devnull,
            "TELL": str(self._told),
        }
        command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", TELL, str(self._main), *self._flags, *words]
        errors = self._directory / "errors"  # not a pipe: a container would keep it open
        with open(errors, "wb") as stderr:
            done = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr)
            assert done.wait(60) == status, f"{words}: {errors.read_text()}"
        rows = [line.split() for line in self._told.read_text().splitlines()]
        (own,) = [row for row in rows if row[0] == str(done.pid)]
        return set(own[1:]) - bare()


@functools.cache
def bare() -> frozenset[str]:
    """What the interpreter has with the module os alone."""
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", "import os, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return frozenset(shown.stdout.split())


def tops(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Short enough for the address of a socket."""
    with tempfile.TemporaryDirectory(prefix="crate-") as path:
        yield Path(path)
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def crate(directory: Path) -> Program:
    if defect := (not host.IS_ROOT and host.user_namespace_defect()):
        pytest.skip(f"needs user namespaces of an ordinary user: {defect}")
    program = Program("crate_engine", directory, "--root", f"{directory}/data", "--runroot", f"{directory}/run")
    program.modules("run", "--rm", "--network", "none", "localhost/crate/hello")  # brings the image into the store
    return program


@pytest.fixture(scope="module")
def runc(directory: Path) -> Iterator[Program]:
    if defect := (not host.IS_ROOT and host.user_namespace_defect()):
        pytest.skip(f"needs user namespaces of an ordinary user: {defect}")
    program = Program("crate_runc", directory, "--root", f"{directory}/state")
    program.modules("--version")  # may write the caches, which takes more modules than reading them
    yield program
    for identity in IDENTITIES:
        program.modules("delete", "--force", identity)


@pytest.fixture(scope="module")
def bundle(directory: Path, crate: Program) -> Path:
    """The root file system of the embedded image and the configuration of `spec --rootless`, without a terminal."""
    (program,) = directory.glob("data/layers/sha256/*/fs/hello")
    path = directory / "bundle"
    (path / "rootfs").mkdir(parents=True)
    for name in ("dev", "proc", "sys"):
        (path / "rootfs" / name).mkdir()
    shutil.copy(program, path / "rootfs/hello")
    subprocess.run([sys.executable, "-m", "crate_runc", "spec", "--rootless", "--bundle", str(path)], check=True, cwd=CHECKOUT)
    config: dict[str, Any] = json.loads((path / "config.json").read_text())
    config["process"].update(terminal=False, args=["/hello", "sleep"])
    (path / "config.json").write_text(json.dumps(config))
    return path


IDENTITIES = (f"start-up-{os.getpid()}-a", f"start-up-{os.getpid()}-b")


def test_verbs_of_the_runtime_load_only_what_is_cheap(runc: Program, bundle: Path) -> None:
    """One after the other, as they are in the life of a container."""
    first, second = IDENTITIES
    verbs = [
        ("create", "--bundle", str(bundle), first),
        ("state", first),
        ("start", first),
        ("exec", first, "/hello"),
        ("kill", first, "KILL"),
        ("delete", "--force", first),
        ("run", "--detach", "--bundle", str(bundle), second),
        ("delete", "--force", second),
    ]
    for verb in verbs:
        loaded = tops(runc.modules(*verb))
        assert "crate_runc" in loaded
        assert verb[0] in ("create", "run", "exec") or "_ctypes" not in loaded, f"{verb[0]} needs Python's own system calls alone"
        assert loaded - {"crate_runc"} <= CHEAP, f"{verb[0]} loads {sorted(loaded - {'crate_runc'} - CHEAP)}"


def test_verbs_that_make_no_process_leave_out_what_makes_one(runc: Program) -> None:
    """state and kill are called most often."""
    loaded = runc.modules("state", "missing", status=1)
    dear = {
        f"crate_runc.{name}"
        for name in ("config", "plan", "process.start", "process.parent", "process.child", "steps.mounts", "cgroup", "kernel")
    }
    assert not loaded & dear


def test_commands_of_the_engine_load_nothing_dear(crate: Program) -> None:
    name = "hello"
    commands = [
        ("run", "--rm", "--network", "none", "localhost/crate/hello"),
        ("run", "-d", "--name", name, "--network", "none", "localhost/crate/hello", "sleep"),
        ("ps",),
        ("exec", name, "/hello"),
        ("logs", name),
        ("stop", "-t", "1", name),
        ("start", name),
        ("kill", name),
        ("rm", "-f", name),
        ("images",),
    ]
    found = {command[0]: sorted(tops(crate.modules(*command)) & DEAR) for command in commands}
    assert not {command: modules for command, modules in found.items() if modules}


def test_registry_and_schemas_are_loaded_when_they_are_used(crate: Program) -> None:
    """The look-alike: the counting would see them."""
    loaded = tops(crate.modules("pull", "127.0.0.1:1/nothing", status=1))
    assert "requests" in loaded
