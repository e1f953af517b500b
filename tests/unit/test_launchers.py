"""The launchers find their package and its Python in every layout of an installation, with whatever environment they are given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

LAUNCHERS = Path(__file__).parents[2] / "launchers"
PACKAGES = {"crate": "crate_engine", "crate-runc": "crate_runc"}
VERSION = f"python3.{sys.version_info.minor}"
TELL = r"""
import sys
f = sys.flags
print(sys.executable, f"isolated {f.isolated} no_site {f.no_site} utf8 {f.utf8_mode}", __file__, ascii(sys.argv[1:]), sep="\n")
"""


class Started(NamedTuple):
    """What the package was started with, as TELL prints it."""

    python: str
    flags: str
    main: Path
    arguments: str


def install(prefix: Path, packages: str, program: str = "crate-runc") -> Path:
    """A made-up installation below a prefix; returns the launcher."""
    package = prefix / packages / PACKAGES[program]
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(TELL)
    launcher = prefix / "bin" / program
    launcher.parent.mkdir()
    shutil.copy(LAUNCHERS / program, launcher)
    return launcher


def add_python(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).symlink_to(sys.executable)


def start(launcher: Path | str, *arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Started:
    result = subprocess.run([launcher, *arguments], cwd=cwd, env=env or {}, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return _started(result.stdout)


def _started(output: str) -> Started:
    python, flags, main, arguments = output.splitlines()
    return Started(python, flags, Path(main), arguments)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A launcher in a virtual environment, on a path with a space."""
    launcher = install(tmp_path / "an environment", f"lib/{VERSION}/site-packages")
    add_python(launcher.parent, "python", "python3", VERSION)
    return launcher


@pytest.mark.parametrize("program", PACKAGES)
def test_it_starts_the_package_isolated_and_without_site(tmp_path: Path, program: str) -> None:
    launcher = install(tmp_path, f"lib/{VERSION}/site-packages", program)
    add_python(launcher.parent, VERSION)
    started = start(launcher)
    assert (started.python, started.flags) == (str(launcher.parent / VERSION), "isolated 1 no_site 1 utf8 1")
    assert started.main.samefile(tmp_path / f"lib/{VERSION}/site-packages" / PACKAGES[program] / "__main__.py")


def test_arguments_arrive_unchanged(environment: Path) -> None:
    arguments = ["", "a b", "*", "$HOME", "--", "line\\nbreak", "'\"", "é", "\udcff"]
    assert start(environment, *arguments, env={"LC_ALL": "C"}).arguments == ascii(arguments)


def test_the_environment_needs_no_path_and_cannot_mislead_python(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('misled')")
    env = {"PATH": "", "PYTHONPATH": str(tmp_path), "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere", "CDPATH": "/"}
    assert start(environment, env=env).flags == "isolated 1 no_site 1 utf8 1"


def test_it_is_found_through_a_chain_of_relative_and_absolute_links(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "far" / "off").mkdir(parents=True)
    absolute = tmp_path / "far" / "absolute"
    absolute.symlink_to(environment)
    relative = tmp_path / "far" / "off" / "relative"
    relative.symlink_to("../absolute")
    last = tmp_path / "last"
    last.symlink_to("far/off/relative")
    directory = tmp_path / "directory"
    directory.symlink_to(environment.parent)
    for start_at in (absolute, relative, last, directory / "crate-runc"):
        assert start(start_at).main.resolve().is_relative_to(environment.parents[1])


def test_it_is_found_by_a_relative_path_and_through_path(environment: Path) -> None:
    expected = start(environment).main
    assert start("./crate-runc", cwd=environment.parent).main.samefile(expected)
    assert start("/bin/sh", "crate-runc", cwd=environment.parent).main.samefile(expected)
    found = start("/usr/bin/env", "crate-runc", env={"PATH": str(environment.parent)})
    assert found.main.samefile(expected)


def test_it_starts_in_a_directory_that_is_gone(environment: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && exec "$2" x'
    output = subprocess.run(["sh", "-c", script, "sh", gone, environment], capture_output=True, text=True, check=True)
    assert _started(output.stdout).arguments == "['x']"  # on standard error a shell may remark that the directory is gone


def test_the_python_of_the_packages_version_is_taken_where_several_are_installed(tmp_path: Path) -> None:
    launcher = install(tmp_path, "lib/python3.1/site-packages")
    shutil.copytree(tmp_path / "lib/python3.1", tmp_path / f"lib/{VERSION}")
    add_python(launcher.parent, "python3", VERSION)
    assert f"/lib/{VERSION}/" in str(start(launcher).main)


def test_a_prefix_without_python_uses_the_one_of_the_same_version_in_path(tmp_path: Path) -> None:
    launcher = install(tmp_path / "prefix", "lib/python3.99/site-packages")
    (tmp_path / "elsewhere").mkdir()
    add_python(tmp_path / "elsewhere", "python3.99")
    assert start(launcher, env={"PATH": str(tmp_path / "elsewhere")}).python == str(tmp_path / "elsewhere" / "python3.99")


def test_packages_in_a_target_directory_are_found(tmp_path: Path) -> None:
    launcher = install(tmp_path, ".")
    add_python(launcher.parent, "python3")
    assert start(launcher).main.samefile(tmp_path / "crate_runc/__main__.py")


def test_without_a_python_it_says_so_and_ends_with_127(tmp_path: Path) -> None:
    launcher = install(tmp_path, "lib/python3.99/site-packages")
    result = subprocess.run([launcher], env={"PATH": "/nonexistent"}, capture_output=True, text=True)
    assert result.returncode == 127
    assert result.stderr.startswith("crate-runc: start: no Python found for the package crate_runc")


def test_an_editable_install_is_started_through_site(tmp_path: Path) -> None:
    """pip leaves a .pth file in site-packages; the test's own environment is made to find the package by one of these."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    source = tmp_path / "source" / "crate_runc"
    source.mkdir(parents=True)
    (source / "__main__.py").write_text(TELL)
    (environment / f"lib/{VERSION}/site-packages/crate.pth").write_text(str(source.parent))
    launcher = environment / "bin" / "crate-runc"
    shutil.copy(LAUNCHERS / "crate-runc", launcher)
    started = start(launcher, "state", "x")
    assert (started.python, started.flags) == (str(environment / "bin/python3"), "isolated 1 no_site 0 utf8 1")
    assert (started.main.parent, started.arguments) == (source, "['state', 'x']")


def test_the_two_launchers_differ_in_their_names_alone() -> None:
    crate, runc = ((LAUNCHERS / program).read_text() for program in PACKAGES)
    assert crate == runc.replace("Starts crate-runc", "Starts crate").replace("=crate_runc", "=crate_engine")
    assert all(os.access(LAUNCHERS / program, os.X_OK) for program in PACKAGES)
