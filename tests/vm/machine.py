"""A virtual machine for tests: a kept one of its own name, driven by the tool whose directory CRATE_VM names.

The tool has the programs `build --add PACKAGE,…`, `run --keep --name NAME`, `exec --name NAME --user USER -- COMMAND` and `stop --name NAME`. The guest is a
Debian with systemd, pure cgroup v2 and the ordinary user `dev`. It reaches no network: Python packages are brought along.
"""

from __future__ import annotations

import compileall
import os
import secrets
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import cache

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE = "/srv/crate"
PACKAGES = "/srv/packages"
_PYTHON = "3.11"  # the guest's
_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
_GUEST_PACKAGES = ("criu",)
"""Of Debian, besides what the tool puts in by itself."""
_TEST_TOOLS = ("pytest>=8", "pytest-timeout>=2.3")
_BOOT_SECONDS = 300
_STOP_SECONDS = 150
_UNWANTED = (".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "build", "dist")


class NoMachine(Exception):
    """There is no tool, or what the tool needs is not here. The text says what."""


def tool() -> Path:
    """Raises NoMachine."""
    named = os.environ.get("CRATE_VM")
    if not named:
        raise NoMachine("needs a virtual machine: CRATE_VM names the directory of the tool that boots one")
    directory = Path(named)
    for program in ("build", "run", "exec", "stop"):
        if not os.access(directory / program, os.X_OK):
            raise NoMachine(f"CRATE_VM={named}: it has no program `{program}`")
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils"), ("mke2fs", "e2fsprogs")):
        if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise NoMachine(f"needs {program} (Debian package {package})")
    return directory


class Machine:
    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self.name = name

    def command(self, *words: str, user: str = "root", timeout: float | None = None) -> list[str]:
        """To be run on the host; `timeout` in seconds ends what runs in the guest with status 124."""
        limit = ["--timeout", f"{timeout:g}"] if timeout else []
        return [*_NICE, str(self._directory / "exec"), "--name", self.name, "--user", user, *limit, "--", *words]

    def run(self, *words: str, user: str = "root", timeout: float = 300, show: bool = False) -> int:
        """The exit status; what it prints goes to our own standard output with `show`, else nowhere. Raises no error of its own."""
        streams = {"stdin": subprocess.DEVNULL} | ({} if show else {"stdout": subprocess.DEVNULL})
        return subprocess.run(self.command(*words, user=user, timeout=timeout), **streams).returncode  # type: ignore[call-overload,no-any-return]

    def do(self, script: str, *, timeout: float = 300) -> None:
        """A piece of shell as root, that must succeed."""
        command = self.command("bash", "-euc", script, timeout=timeout)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(f"in the virtual machine: status {done.returncode}: {script}\n{done.stdout}{done.stderr}")

    def pytest(self, user: str, *arguments: str, slowdown: float, timeout: float) -> int:
        """Run tests of the copied checkout; what pytest prints is printed. Its exit status, or 124 after `timeout` seconds."""
        environment = [
            f"PYTHONPATH={PACKAGES}",
            f"PYTHONPYCACHEPREFIX=/var/tmp/pycache-{user}",
            f"CRATE_TEST_SLOWDOWN={slowdown:g}",
        ]
        command = ["python3", "-m", "pytest", "-p", "no:cacheprovider", "--timeout", f"{timeout:g}", "--color", "no", *arguments]
        script = f'cd {INSIDE}/checkout && exec env "$@" </dev/null'
        return self.run("sh", "-c", script, "sh", *environment, *command, user=user, timeout=timeout, show=True)

    def copy_tree(self, source: Path, target: str) -> None:
        """Unpack the tree at `source` into the guest's directory `target`, made new, for all to read."""
        left_out = [f"--exclude={name}" for name in _UNWANTED]
        pack = ["tar", "-C", str(source), *left_out, "--owner=0", "--group=0", "--mode=a+rX", "-c", "."]
        unpack = f"rm -rf {target} && mkdir -p {target} && tar -C {target} -x"
        with subprocess.Popen(pack, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as packer:
            subprocess.run(self.command("sh", "-c", unpack), stdin=packer.stdout, check=True)
        if packer.returncode:
            raise AssertionError(f"tar of {source}: status {packer.returncode}")

    def stop_command(self) -> tuple[str, str]:
        """The program, and the name of the machine for it."""
        return str(self._directory / "stop"), self.name


@contextmanager
def booted() -> Iterator[Machine]:
    """A new machine with the checkout in it; powered off at the end, whatever happens. Raises NoMachine where there can be none."""
    directory, shared = tool(), packages()
    build = [str(directory / "build"), "--add", ",".join(_GUEST_PACKAGES)]
    subprocess.run(build, stdin=subprocess.DEVNULL, check=True, stdout=subprocess.DEVNULL)
    machine = Machine(directory, f"crate-test-{os.getpid()}-{secrets.token_hex(2)}")
    run = [*_NICE, str(directory / "run"), "--keep", "--name", machine.name, "--boot-timeout", str(_BOOT_SECONDS)]
    watchdog = _watch(machine)
    try:
        subprocess.run([*run, "--share", f"{shared}:{PACKAGES}"], stdin=subprocess.DEVNULL, check=True)
        machine.copy_tree(CHECKOUT, f"{INSIDE}/checkout")
        yield machine
    finally:
        watchdog.communicate(timeout=_STOP_SECONDS)


def _watch(machine: Machine) -> subprocess.Popen[bytes]:
    """A process that stops the machine when its standard input ends: when it is closed, and also when we are killed."""
    script = 'read -r _; exec "$0" --name "$1"'
    words = ["sh", "-c", script, *machine.stop_command()]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def packages() -> Path:
    """A directory for the guest's PYTHONPATH: what crate needs, and what its tests need. Made once, by this machine's pip.

    Installing them in the guest takes minutes. Raises NoMachine.
    """
    requirements = _requirements()

    def download(directory: Path) -> None:
        foreign = [f"--platform={name}" for name in _PLATFORMS] + ["--python-version", _PYTHON, "--implementation", "cp"]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--only-binary=:all:", "--no-compile"]
        done = subprocess.run([*pip, *foreign, "--target", str(directory), *requirements], capture_output=True, text=True)
        if done.returncode:
            raise NoMachine(f"needs packages for the guest: pip install: {done.stderr.strip()[-300:]}")
        if "{}.{}".format(*sys.version_info) == _PYTHON:
            compileall.compile_dir(directory, quiet=2)

    return cache.built("vm-packages", cache.key(requirements, _PYTHON, _PLATFORMS), download)


def _requirements() -> tuple[str, ...]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return (*project["dependencies"], *_TEST_TOOLS)


_NICE = ("nice", "-n", "10")
