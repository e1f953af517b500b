"""From a fresh clone to a first container, by the README's first command: as an ordinary user, and as whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import host
from tests.support.programs import Account, Result

REPOSITORY = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3.11"
"""Debian 12's."""
_PASSED_ON = ("PIP_", "SSL_", "REQUESTS_", "HTTP_", "HTTPS_", "NO_", "http_", "https_", "no_")
"""How pip is configured here; without it there may be no way to an index."""
FIRST_FACT = "  process             1, started by 0\n"


@dataclass(frozen=True)
class Clone:
    """What `git clone` makes, on a path with a space, owned by its user; its store lies beside it and goes with it."""

    directory: Path
    account: Account

    def run(self, *command: str | Path, **env: str) -> Result:
        configured = {
            name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON) and name != "PIP_CACHE_DIR"
        }
        store = {"XDG_DATA_HOME": str(self.directory.parent)}
        if not self.account.rootless:
            store = {"CRATE_CONFIG": str(self.directory.parent / "config.yaml")}
        return self.account.run([str(word) for word in command], env=configured | store | env, cwd="/", timeout=150)

    def quickstart(self, *arguments: str, **env: str) -> Result:
        return self.run(self.directory / "quickstart", *arguments, **env)

    def crate(self, *arguments: str) -> Result:
        return self.run(self.directory / ".venv/bin/crate", *arguments)


def _clone(base: Path, account: Account) -> Iterator[Clone]:
    above = base / f"clone of {account.name}"
    above.mkdir()
    (above / "config.yaml").write_text(f"root: {above}/crate\nrunroot: {above}/run\n")
    clone = Clone(above / "crate source", account)
    git = [
        host.program("git"),
        "-c",
        "safe.directory=*",
        "clone",
        "--quiet",
        "--no-hardlinks",
        str(REPOSITORY),
        str(clone.directory),
    ]
    subprocess.run(git, check=True, capture_output=True)
    if account.uid != os.geteuid():
        subprocess.run(["chown", "-R", f"{account.uid}:{account.gid}", str(above)], check=True)
    yield clone
    if (clone.directory / ".venv/bin/crate").exists():
        clone.crate("rmi", "localhost/crate/hello")
    shutil.rmtree(above)


@pytest.fixture(scope="module")
def own_clone(base: Path, ourselves: Account) -> Iterator[Clone]:
    if not host.IS_ROOT and (defect := host.user_namespace_defect()):
        pytest.skip(f"needs user namespaces of an ordinary user: {defect}")
    above = base / "own"
    above.mkdir()
    yield from _clone(above, ourselves)


@pytest.fixture(scope="module")
def user_clone(base: Path, rootless_user: Account) -> Iterator[Clone]:
    yield from _clone(base, rootless_user)


@pytest.fixture(scope="module")
def installed(user_clone: Clone) -> Result:
    """An ordinary user's `./quickstart`, with the system's Python where that is Debian's."""
    return user_clone.quickstart(**({"PYTHON": SYSTEM_PYTHON} if os.access(SYSTEM_PYTHON, os.X_OK) else {}))


def _newer_python() -> str | None:
    """One newer than Debian's: a program in PATH, or one of those that pyenv keeps."""
    names = ("python3.13", "python3.12")
    places = [found for name in names if (found := shutil.which(name))]
    if shutil.which("pyenv"):
        root = Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip())
        places += [str(path) for name in names for path in root.glob(f"versions/*/bin/{name}")]
    for place in places:
        if subprocess.run([place, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            return place
    return None


def test_quickstart_runs_a_container_for_an_ordinary_user(installed: Result) -> None:
    assert installed.status == 0, installed
    assert "Hello from inside a container." in installed.out
    assert FIRST_FACT in installed.out
    assert installed.out.endswith("  .venv/bin/crate rm my-nginx\n")


def test_quickstart_runs_a_container_with_a_newer_python(own_clone: Clone) -> None:
    python = _newer_python()
    if python is None:
        pytest.skip("needs a Python newer than 3.11")
    result = own_clone.quickstart(PYTHON=python)
    assert result.status == 0, result
    assert FIRST_FACT in result.out
    version = own_clone.run(own_clone.directory / ".venv/bin/python", "-c", "import sys; print(sys.version_info[:2] > (3, 11))")
    assert version.out == "True\n"


def test_both_programs_start_with_an_empty_environment(user_clone: Clone, installed: Result) -> None:
    assert installed.status == 0, installed
    for program in ("crate", "crate-runc"):
        launcher = user_clone.directory / ".venv/bin" / program
        assert launcher.read_text() == (user_clone.directory / "launchers" / program).read_text()
        result = user_clone.run("/usr/bin/env", "-i", launcher, "--version")
        assert (result.status, result.err) == (0, "")
        assert result.out.startswith(f"{program} version ")


def test_schemas_and_types_are_installed_with_the_packages(user_clone: Clone, installed: Result) -> None:
    assert installed.status == 0, installed
    (packages,) = (user_clone.directory / ".venv/lib").glob("python3*/site-packages")
    source = user_clone.directory / "schemas"
    schemas = {path.relative_to(source): path.read_bytes() for path in source.rglob("*.json")}
    target = packages / "crate_engine/schemas"
    assert schemas
    assert {path.relative_to(target): path.read_bytes() for path in target.rglob("*.json")} == schemas
    assert (packages / "crate_engine/py.typed").exists()


def test_running_it_again_keeps_the_environment_and_the_image(user_clone: Clone, installed: Result) -> None:
    assert installed.status == 0, installed
    marker = user_clone.directory / ".venv/marker"
    marker.touch()
    again = user_clone.quickstart()
    assert again.status == 0, again
    assert "Making .venv" not in again.out
    assert "Pull" not in again.err
    assert marker.exists()


def test_the_first_container_is_gone_afterwards(user_clone: Clone, installed: Result) -> None:
    assert installed.status == 0, installed
    assert user_clone.crate("ps", "-a", "-q").out == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "-qq", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-w", str(directory), str(REPOSITORY)], check=True, capture_output=True)
    (made,) = directory.glob("*.whl")
    return made


@pytest.mark.parametrize("scheme", ["prefix", "target", "user"])
def test_the_runtime_starts_from_other_places_that_pip_installs_to(wheel: Path, tmp_path: Path, scheme: str) -> None:
    python = Path(sys.base_prefix) / "bin" / f"python{host.python_version()}"
    env = os.environ | {"PYTHONUSERBASE": str(tmp_path), "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    place = ["--user"] if scheme == "user" else [f"--{scheme}", str(tmp_path)]
    pip = [str(python), "-m", "pip", "install", "-qq", "--no-deps", "--no-index", "--disable-pip-version-check"]
    result = subprocess.run([*pip, *place, str(wheel)], env=env, capture_output=True, text=True)
    if "No module named pip" in result.stderr:
        pytest.skip("needs pip in the Python that the tests' environment was made from (Debian package python3-pip)")
    assert result.returncode == 0, result.stderr
    (launcher,) = [*tmp_path.glob("bin/crate-runc"), *tmp_path.glob("local/bin/crate-runc")]
    started = subprocess.run([launcher, "--version"], env={"PATH": str(python.parent)}, capture_output=True, text=True)
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.startswith("crate-runc version ")
