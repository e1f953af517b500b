from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import crate_runc


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own, without caches."""
    target = tmp_path / "crate_runc"
    shutil.copytree(Path(crate_runc.__file__).parent, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _version(copy: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-I", "-S", copy / "__main__.py", "--version"], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[0]


def test_the_first_command_writes_it_and_the_next_uses_it(copy: Path) -> None:
    first = _version(copy)
    (pack,) = (copy / "__pycache__").glob("pack.cpython-*[0-9]")
    before = pack.stat()
    assert _version(copy) == first
    assert pack.stat().st_ino == before.st_ino


def test_a_changed_module_is_loaded_as_it_is_now(copy: Path) -> None:
    first = _version(copy)
    source = copy / "__init__.py"
    source.write_text(source.read_text().replace(crate_runc.VERSION, "9.9.99"))
    assert _version(copy) == first.replace(crate_runc.VERSION, "9.9.99")


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, bytes(8)])
def test_a_damaged_pack_is_replaced(copy: Path, content: bytes) -> None:
    first = _version(copy)
    (pack,) = (copy / "__pycache__").glob("pack.cpython-*[0-9]")
    pack.write_bytes(content)
    assert _version(copy) == first
    assert pack.read_bytes() != content


_ALL = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from crate_runc import pack
if sys.argv[2] == "packed":
    pack.install()
for name in sys.argv[3:]:
    module = importlib.import_module(name)
    package, _, own = name.rpartition(".")
    assert not package or getattr(sys.modules[package], own) is module, name
    print(name, module.__file__, *sorted(set(vars(module)) - {"__cached__", "__builtins__", "__annotations__", "annotations"}))
"""


def test_a_module_of_the_pack_is_the_one_that_python_would_load(copy: Path) -> None:
    """Whichever is asked for first, and whatever it brings along."""
    _version(copy)
    names = [
        ".".join(path.relative_to(copy.parent).with_suffix("").parts).removesuffix(".__init__") for path in copy.rglob("*.py")
    ]
    names = sorted(set(names) - {"crate_runc.__main__", "crate_runc.process.sealed"})
    for order in (names, names[::-1]):
        command = [sys.executable, "-I", "-S", "-c", _ALL, str(copy.parent)]
        loaded = [
            subprocess.run([*command, how, *order], capture_output=True, text=True, check=True).stdout
            for how in ("packed", "plain")
        ]
        assert loaded[0] == loaded[1]


def test_debug_shows_lines_of_the_source(copy: Path) -> None:
    """Which are not in the pack."""
    _version(copy)
    source = copy / "verbs.py"
    source.write_text(
        source.read_text().replace(
            "def run(invocation: Invocation) -> int:\n", "def run(invocation: Invocation) -> int:\n    1 / 0\n"
        )
    )
    _version(copy)
    for flags, shown in (["--debug"], True), ([], False):
        done = subprocess.run(
            [sys.executable, "-I", "-S", copy / "__main__.py", *flags, "state", "c"], capture_output=True, text=True
        )
        assert ('verbs.py", line' in done.stderr) is shown
        assert "ZeroDivisionError" in done.stderr
