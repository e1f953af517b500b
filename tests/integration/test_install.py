"""From a fresh clone to a first container, by the README's first command: as the calling user and, for root, as an ordinary user too."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SYSTEM_PYTHON = "/usr/bin/python3.11"
"""Debian 12's."""


@dataclass(frozen=True)
class User:
    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


def _me() -> User:
    return User(pwd.getpwuid(os.geteuid()).pw_name, os.geteuid(), os.getegid(), tuple(os.getgroups()))


def _ordinary_user() -> User:
    """The calling user, or for root the first with a range in /etc/subuid."""
    if os.geteuid():
        return _me()
    for line in Path("/etc/subuid").read_text().splitlines():
        try:
            entry = pwd.getpwnam(line.partition(":")[0])
        except KeyError:
            continue
        if entry.pw_uid:
            return User(entry.pw_name, entry.pw_uid, entry.pw_gid, (entry.pw_gid,))
    pytest.skip("no ordinary user has a range of user ids in /etc/subuid")


def _newer_pythons() -> Iterator[str]:
    """Pythons newer than Debian's: programs in PATH, and what pyenv keeps."""
    names = ("python3.13", "python3.12")
    places = [found for name in names if (found := shutil.which(name))]
    if shutil.which("pyenv"):
        root = Path(subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=True).stdout.strip())
        places += [str(path) for name in names for path in root.glob(f"versions/*/bin/{name}")]
    for place in places:
        if subprocess.run([place, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0:
            yield place


@dataclass(frozen=True)
class Clone:
    directory: Path
    user: User
    home: Path

    def run(self, *command: str | Path, python: str | None = None) -> subprocess.CompletedProcess[str]:
        """As the clone's owner, with what pip is configured to use here and little else."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.startswith(("PIP_", "SSL_", "REQUESTS_")) or "proxy" in name.lower()
        }
        kept.pop("PIP_CACHE_DIR", None)
        env = kept | {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home),
        }
        if self.user.uid == 0:  # the host's own store is left alone
            env["CRATE_CONFIG"] = str(self.home / "config.yaml")
        if python:
            env["PYTHON"] = python
        user = (
            {}
            if self.user.uid == os.geteuid()
            else {"user": self.user.uid, "group": self.user.gid, "extra_groups": self.user.groups}
        )
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [str(word) for word in command],
            cwd="/",
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=150,
            **user,
        )

    def crate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(self.directory / ".venv/bin/crate", *arguments)


def _clone(user: User) -> Iterator[Clone]:
    """In a directory that the user owns, on a path with a space; its store goes with the home directory."""
    base = Path(tempfile.mkdtemp(prefix="crate-install-"))
    clone, home = base / "a clone", base / "home"
    home.mkdir(mode=0o700)
    (home / "config.yaml").write_text(f"root: {home}/data\nrunroot: {home}/run\n")
    command = ["git", "-c", "safe.directory=*", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)]
    subprocess.run(command, check=True, capture_output=True)
    if user.uid != os.geteuid():
        subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", str(base)], check=True)
    made = Clone(clone, user, home)
    try:
        yield made
    finally:
        if (clone / ".venv/bin/crate").exists() and user.uid:
            made.crate("rmi", "localhost/crate/hello")  # files of other ids, which only crate's user namespace may remove
        shutil.rmtree(base)


@pytest.fixture(scope="module")
def own_clone() -> Iterator[Clone]:
    yield from _clone(_me())


@pytest.fixture(scope="module")
def user_clone() -> Iterator[Clone]:
    yield from _clone(_ordinary_user())


@pytest.fixture(scope="module")
def installed(user_clone: Clone) -> subprocess.CompletedProcess[str]:
    """An ordinary user's `./quickstart`, with the system's Python where that is Debian's."""
    python = SYSTEM_PYTHON if os.access(SYSTEM_PYTHON, os.X_OK) else sys.executable
    return user_clone.run(user_clone.directory / "quickstart", python=python)


def test_quickstart_runs_a_container_for_an_ordinary_user(installed: subprocess.CompletedProcess[str]) -> None:
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert "Hello from inside a container." in installed.stdout
    assert "  process             1, started by 0\n" in installed.stdout
    assert installed.stdout.endswith("  .venv/bin/crate rm my-nginx\n")


def test_quickstart_runs_a_container_with_a_newer_python(own_clone: Clone) -> None:
    python = next(_newer_pythons(), None)
    if python is None:
        pytest.skip("no Python newer than 3.11 is here")
    result = own_clone.run(own_clone.directory / "quickstart", python=python)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "  process             1, started by 0\n" in result.stdout
    version = own_clone.run(own_clone.directory / ".venv/bin/python", "-c", "import sys; print(sys.version_info[:2] > (3, 11))")
    assert version.stdout == "True\n"


def test_both_programs_start_with_an_empty_environment(user_clone: Clone, installed: subprocess.CompletedProcess[str]) -> None:
    assert installed.returncode == 0
    for program in ("crate", "crate-runc"):
        launcher = user_clone.directory / ".venv/bin" / program
        assert launcher.read_text() == (REPOSITORY / "launchers" / program).read_text()
        result = user_clone.run("/usr/bin/env", "-i", launcher, "--version")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.startswith(f"{program} version ")


def test_the_schemas_and_the_types_are_installed_with_the_packages(
    user_clone: Clone, installed: subprocess.CompletedProcess[str]
) -> None:
    assert installed.returncode == 0
    (packages,) = (user_clone.directory / ".venv/lib").glob("python3*/site-packages")
    schemas = sorted(path.relative_to(REPOSITORY / "schemas") for path in (REPOSITORY / "schemas").rglob("*.json"))
    assert schemas
    assert (
        sorted(path.relative_to(packages / "crate_engine/schemas") for path in packages.glob("crate_engine/schemas/*/*.json"))
        == schemas
    )
    assert (packages / "crate_engine/py.typed").exists()


def test_running_it_again_keeps_the_environment_and_the_image(
    user_clone: Clone, installed: subprocess.CompletedProcess[str]
) -> None:
    assert installed.returncode == 0
    marker = user_clone.directory / ".venv/marker"
    marker.touch()
    again = user_clone.run(user_clone.directory / "quickstart")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Making .venv" not in again.stdout
    assert "Pulling" not in again.stdout + again.stderr
    assert marker.exists()


def test_a_container_leaves_nothing_running_and_nothing_listed(
    user_clone: Clone, installed: subprocess.CompletedProcess[str]
) -> None:
    assert installed.returncode == 0
    assert user_clone.crate("ps", "-a", "-q").stdout == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-qq",
        "--disable-pip-version-check",
        "--no-deps",
        "-w",
        str(directory),
        str(REPOSITORY),
    ]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = directory.glob("*.whl")
    return made


@pytest.mark.parametrize("scheme", ["prefix", "target", "user"])
def test_the_runtime_starts_from_other_places_that_pip_installs_to(wheel: Path, tmp_path: Path, scheme: str) -> None:
    python = f"{sys.base_prefix}/bin/python3.{sys.version_info.minor}"
    env = os.environ | {"PYTHONUSERBASE": str(tmp_path), "PIP_BREAK_SYSTEM_PACKAGES": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    place = ["--user"] if scheme == "user" else [f"--{scheme}", str(tmp_path)]
    install = [
        python,
        "-m",
        "pip",
        "install",
        "-qq",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        *place,
        str(wheel),
    ]
    result = subprocess.run(install, env=env, capture_output=True, text=True)
    if "No module named pip" in result.stderr:
        pytest.skip("the Python that this environment was made from has no pip")
    assert result.returncode == 0, result.stderr
    (launcher,) = [*tmp_path.glob("bin/crate-runc"), *tmp_path.glob("local/bin/crate-runc")]
    started = subprocess.run([launcher, "--version"], env={"PATH": str(Path(python).parent)}, capture_output=True, text=True)
    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.startswith("crate-runc version ")
