"""What `./quickstart` decides and says, with small programs standing in for Python, pip and crate; tests/integration does it for real."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

QUICKSTART = Path(__file__).parents[2] / "quickstart"
NEEDED = ("sh", "sed", "grep", "cat", "tr")
SILENT = "exit 0"
PYTHON = """
case "$*" in
  *python_version*) echo {version} ;;
  *version_info*) exit {old} ;;
  *ensurepip*) exit {incomplete} ;;
  "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  "-m pip install"*) echo "pip $*" ;;
esac"""


class Checkout:
    """A directory with `quickstart` in it and a PATH that leads to stand-ins alone."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "a checkout"
        self.programs = directory / "programs"
        self.root.mkdir()
        self.programs.mkdir()
        shutil.copy(QUICKSTART, self.root)
        for name in NEEDED:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)
        for name in ("newuidmap", "newgidmap", "pasta", "apt-get", "unshare"):
            self.program(name, SILENT)
        self.user(0, "root")

    def program(self, name: str, script: str, directory: Path | None = None) -> None:
        path = (directory or self.programs) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def user(self, number: int, name: str) -> None:
        self.program("id", f"case $1 in -u) echo {number} ;; -un) echo {name} ;; esac")

    def python(self, name: str, version: str = "3.11.2", *, old: bool = False, incomplete: bool = False) -> None:
        script = PYTHON.format(version=version, old=int(old), incomplete=int(incomplete))
        self.program(name, script.replace("mkdir", shutil.which("mkdir") or "").replace("cp ", f"{shutil.which('cp')} "))

    def environment(self) -> None:
        """A working .venv whose `crate` prints its arguments."""
        self.python("python3")
        self.program("python", SILENT, self.root / ".venv/bin")
        self.program("crate", 'echo "crate ran: $*"', self.root / ".venv/bin")

    def run(self, *arguments: str, python: str | None = None) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.programs)} | ({"PYTHON": python} if python else {})
        return subprocess.run(
            [self.root / "quickstart", *arguments], env=env, cwd=self.programs, capture_output=True, text=True, timeout=20
        )


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_newest_tested_python_that_is_complete_makes_the_environment(checkout: Checkout) -> None:
    checkout.python("python3.13", "3.13.1", incomplete=True)
    checkout.python("python3.12", "3.12.4")
    checkout.python("python3.11")
    result = checkout.run("--install")
    assert (result.returncode, result.stderr) == (0, "")
    assert "Making .venv with python3.12 (3.12.4)" in result.stdout
    assert result.stdout.endswith("pip -m pip install -qq --disable-pip-version-check .\n")


def test_an_extra_is_installed_where_it_is_named(checkout: Checkout) -> None:
    checkout.python("python3")
    assert checkout.run("--install", "test").stdout.endswith(" .[test]\n")


def test_an_environment_that_works_is_kept(checkout: Checkout) -> None:
    checkout.environment()
    marker = checkout.root / ".venv/marker"
    marker.touch()
    assert "Making" not in checkout.run().stdout
    assert marker.exists()


def test_too_old_a_python_is_named_with_a_way_out(checkout: Checkout) -> None:
    checkout.python("python3", "3.9.2", old=True)
    result = checkout.run()
    assert result.returncode == 1
    assert result.stderr.startswith("quickstart: python3: Python 3.11 or newer is needed, 3.9.2 is here\n  apt-get install")
    assert not (checkout.root / ".venv").exists()


def test_without_any_python_it_says_so(checkout: Checkout) -> None:
    assert "none is here" in checkout.run().stderr


def test_a_python_without_venv_names_the_package(checkout: Checkout) -> None:
    checkout.python("python3", incomplete=True)
    checkout.user(1000, "someone")
    lines = checkout.run().stderr.splitlines()
    assert "python3 cannot make environments" in lines[0]
    assert lines[1:] == ["  sudo apt-get install -y python3-venv"]


def test_the_python_asked_for_is_taken_or_refused_but_never_replaced(checkout: Checkout) -> None:
    checkout.python("python3.12", "3.12.4")
    result = checkout.run(python="/nonexistent/python")
    assert (result.returncode, result.stderr) == (1, "quickstart: PYTHON=/nonexistent/python cannot be run\n")
    checkout.python("own", "3.11.9")
    assert "with own (3.11.9)" in checkout.run("--install", python="own").stdout


@pytest.mark.skipif(not os.access("/dev/net/tun", os.R_OK | os.W_OK), reason="needs /dev/net/tun to be open to the user")
def test_it_runs_the_embedded_image_and_shows_what_to_try_next(checkout: Checkout) -> None:
    checkout.environment()
    result = checkout.run()
    assert (result.returncode, result.stderr) == (0, "")
    assert "\ncrate ran: run --rm localhost/crate/hello\n" in result.stdout
    assert "lacks" not in result.stdout
    for command in (
        "pull nginx",
        "run --name my-nginx -d -p 8080:80 nginx",
        "ps",
        "logs my-nginx",
        "stop my-nginx",
        "rm my-nginx",
    ):
        assert f"  .venv/bin/crate {command}\n" in result.stdout


def test_a_failing_container_fails_the_command(checkout: Checkout) -> None:
    checkout.environment()
    checkout.program("crate", "exit 126", checkout.root / ".venv/bin")
    result = checkout.run()
    assert result.returncode == 1
    assert "the first container ended with status 126" in result.stderr


def test_what_the_host_lacks_is_one_message_and_the_container_runs_all_the_same(checkout: Checkout) -> None:
    checkout.environment()
    checkout.user(1000, "someone")
    (checkout.programs / "newuidmap").unlink()
    (checkout.programs / "pasta").unlink()
    result = checkout.run()
    assert result.returncode == 0
    assert result.stdout.count("This host lacks") == 1
    assert "newuidmap: a container has one user id only" in result.stdout
    assert "      sudo apt-get install -y uidmap\n" in result.stdout
    assert "      sudo apt-get install -y passt\n" in result.stdout
    assert "crate ran: run --rm --network none localhost/crate/hello" in result.stdout


def test_a_user_without_id_ranges_is_told_the_command_that_gives_them(checkout: Checkout) -> None:
    checkout.environment()
    checkout.user(4000000001, "stranger-to-this-host")
    result = checkout.run()
    assert "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 stranger-to-this-host" in result.stdout
    assert "crate ran:" in result.stdout


def test_without_user_namespaces_it_stops_with_a_reason(checkout: Checkout) -> None:
    checkout.environment()
    checkout.user(1000, "someone")
    checkout.program("unshare", "exit 1")
    result = checkout.run()
    assert result.returncode == 1
    assert "an ordinary user cannot make user namespaces here\n  " in result.stderr
    assert "crate ran" not in result.stdout


def test_root_needs_no_user_namespaces(checkout: Checkout) -> None:
    checkout.environment()
    checkout.program("unshare", "exit 1")
    (checkout.programs / "newuidmap").unlink()
    assert checkout.run().returncode == 0


def test_an_unknown_argument_is_refused_with_the_usage(checkout: Checkout) -> None:
    result = checkout.run("--frob")
    assert result.returncode == 1
    assert result.stderr.startswith("quickstart: unknown argument --frob\n  ./quickstart ")
    assert "./quickstart --install [EXTRA]" in result.stderr


def test_a_directory_that_cannot_be_written_is_named(checkout: Checkout) -> None:
    if os.geteuid() == 0:
        pytest.skip("root can write everywhere")
    checkout.python("python3")
    checkout.root.chmod(0o555)
    assert "cannot write in" in checkout.run().stderr
