"""The checkout under test, installed where every user of this host can run it.

The working tree may be below a home directory that only its owner can enter, and so may the interpreter of the tests. An installation is a
small virtual environment, laid out as pip lays out the wheel: the packages, their schemas, the launchers in bin/, and what they depend on.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import os
import re
import shutil
import stat
import sys
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
_VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


def install(prefix: Path) -> Path:
    """Fill `prefix`, an empty directory that others can enter; returns its bin directory."""
    packages = prefix / "lib" / _VERSION / "site-packages"
    packages.mkdir(parents=True)
    bin_directory = prefix / "bin"
    bin_directory.mkdir()
    _install_python(prefix, bin_directory)
    for distribution in _dependencies():
        _copy_distribution(distribution, packages)
    no_caches = shutil.ignore_patterns("__pycache__")
    for package in ("crate_runc", "crate_engine"):
        shutil.copytree(CHECKOUT / package, packages / package, ignore=no_caches)
    shutil.copytree(CHECKOUT / "schemas", packages / "crate_engine" / "schemas")
    for launcher in (CHECKOUT / "launchers").iterdir():
        shutil.copy(launcher, bin_directory / launcher.name)
        (bin_directory / launcher.name).chmod(0o755)
    _open_to_others(prefix)
    for package in ("crate_runc", "crate_engine"):
        compileall.compile_dir(packages / package, quiet=2)
    return bin_directory


def _install_python(prefix: Path, bin_directory: Path) -> None:
    """The interpreter of the tests, or a copy of it when it is not for everyone."""
    python = Path(os.path.realpath(sys.executable))
    if not _reachable(python):
        base = prefix / "python"
        (base / "bin").mkdir(parents=True)
        shutil.copy(python, base / "bin" / _VERSION)
        library = Path(os.path.realpath(os.__file__)).parent
        left_out = shutil.ignore_patterns("site-packages", "test", "tests", "idlelib", "tkinter", "config-*", "ensurepip")
        shutil.copytree(library, base / "lib" / _VERSION, ignore=left_out)
        python = base / "bin" / _VERSION
    for name in (_VERSION, "python3", "python"):
        (bin_directory / name).symlink_to(python)
    (prefix / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")


def _reachable(path: Path) -> bool:
    """Whether any user can enter every directory above and execute the file."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _dependencies() -> list[importlib.metadata.Distribution]:
    """What pyproject.toml asks for and all that this asks for in turn, and the optional speed-ups that are here."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    optional = project["optional-dependencies"].get("speed", [])
    found: dict[str, importlib.metadata.Distribution] = {}
    while wanted or optional:
        required = bool(wanted)
        requirement = wanted.pop() if required else optional.pop()
        name = _required_name(requirement)
        if name is None or name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            # a marker can rule it out (another Python, another system); what is really needed shows when it is imported
            continue
        wanted += found[name].requires or []
    return list(found.values())


def _required_name(requirement: str) -> str | None:
    text, _, marker = requirement.partition(";")
    name = re.match(r"[A-Za-z0-9._-]+", text.strip())
    if name is None or "extra" in marker:
        return None
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def _copy_distribution(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    tops = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
    for top in tops:
        source = Path(str(distribution.locate_file(top)))
        if source.is_dir():
            shutil.copytree(source, packages / top, dirs_exist_ok=True)
        elif source.is_file():
            shutil.copy(source, packages / top)


def _open_to_others(prefix: Path) -> None:
    """A checkout made under a strict umask has modes that keep others out."""
    for path in (prefix, *prefix.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        readable = mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0)
        if readable != mode:
            path.chmod(readable)
