"""The program as it is started: exit statuses, error lines, what is imported, and quiet ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crate_engine import __version__

REPOSITORY = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-I", "-S", str(REPOSITORY / "crate_engine/__main__.py")]
# what must not be imported where nobody asks for help, a registry or settings
HEAVY = {
    "typer",
    "click",
    "rich",
    "requests",
    "urllib3",
    "yaml",
    "jsonschema",
    "pydantic",
    "asyncio",
    "logging",
    "ssl",
    "http",
    "email",
    "pathlib",
}


def crate(*argv: str, environment: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
    settings = {"CRATE_CONFIG": os.devnull} | (environment or {})
    return subprocess.run([*PROGRAM, *argv], env=settings, capture_output=True, text=True, timeout=60, check=False, **options)


def imported(*argv: str) -> set[str]:
    """The modules that are loaded when the command ends."""
    show = (
        "import os, sys; end = os._exit\n"
        "def exit(status):\n"
        "    os.write(2, ('\\n' + ' '.join(sys.modules)).encode()); end(0)\n"
        "os._exit = exit\n"
        f"sys.argv = {['crate', *argv]!r}\n"
        f"exec(open({PROGRAM[-1]!r}).read(), {{'__name__': '__main__', '__file__': {PROGRAM[-1]!r}}})"
    )
    environment = {"CRATE_CONFIG": os.devnull}
    shown = subprocess.run(
        [sys.executable, "-I", "-S", "-c", show], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return set(shown.stderr.rpartition("\n")[2].split())


def test_the_version_is_printed_by_a_bare_interpreter() -> None:
    shown = crate("--version")
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, f"crate version {__version__}\n", "")


def test_the_version_is_that_of_the_distribution() -> None:
    assert f'\nversion = "{__version__}"\n' in (REPOSITORY / "pyproject.toml").read_text()


def test_the_program_runs_from_any_directory_and_as_a_module(tmp_path: Path) -> None:
    assert crate("--version", cwd=tmp_path).returncode == 0
    shown = subprocess.run(
        [sys.executable, "-m", "crate_engine", "--version"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert shown.stdout == f"crate version {__version__}\n"


def test_help_finds_typer_though_site_packages_is_not_set_up() -> None:
    shown = crate("run", "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: crate run [OPTIONS]")


def test_no_command_shows_help() -> None:
    assert crate().stdout.startswith("Usage: crate [OPTIONS] COMMAND")
    assert crate("help", "ps").stdout.startswith("Usage: crate ps")


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (("runn",), ["crate: error: unknown command \"runn\"; see 'crate --help'", "hint: did you mean run?"]),
        (("run", "--nope-at-all", "x"), ["crate: error: run: unknown flag --nope-at-all; see 'crate run --help'"]),
        (("stop",), ["crate: error: stop: CONTAINER is missing; see 'crate stop --help'"]),
        (("\x1b[31m",), ["crate: error: unknown command \"\\x1b[31m\"; see 'crate --help'"]),
    ],
)
def test_a_misuse_is_one_line_and_status_125(argv: tuple[str, ...], lines: list[str]) -> None:
    shown = crate(*argv)
    assert (shown.returncode, shown.stdout, shown.stderr.splitlines()) == (125, "", lines)


@pytest.mark.parametrize(("argv", "status"), [(("run", "alpine"), 125), (("ps",), 1)])
def test_an_error_of_crate_has_dockers_status(tmp_path: Path, argv: tuple[str, ...], status: int) -> None:
    (tmp_path / "config.yaml").write_text("netwrk: host\n")
    shown = crate(*argv, environment={"CRATE_CONFIG": str(tmp_path / "config.yaml")})
    assert (shown.returncode, shown.stdout) == (status, "")
    assert shown.stderr.splitlines() == [
        f"crate: error: settings {tmp_path}/config.yaml:1: netwrk: unknown key; did you mean network?",
        "hint: docs/settings.md describes every key",
    ]


def test_what_only_prints_loads_next_to_nothing() -> None:
    bare = {
        "crate_engine",
        "crate_engine.cli",
        "crate_engine.cli.__main__",
        "crate_engine.cli.commands",
        "crate_engine.cli.parse",
    }
    loaded = imported("--version")
    ours = {name for name in loaded if name.startswith("crate_")}
    assert ours == bare | {"crate_engine.cli.session", "crate_engine.errors"}
    assert not loaded & (HEAVY | {"re", "typing", "dataclasses", "enum", "json", "argparse", "subprocess"})


def test_a_reader_that_leaves_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    shown = subprocess.run([*PROGRAM, "--version"], env={}, stdout=write_end, stderr=subprocess.PIPE, check=False)
    os.close(write_end)
    assert (shown.returncode, shown.stderr) == (141, b"")


def test_a_full_disk_behind_standard_output_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        shown = subprocess.run([*PROGRAM, "--version"], env={}, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (125, "crate: error: no space left on device\n")


def test_closed_standard_streams_are_no_error() -> None:
    script = 'exec "$@" >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", script, "sh", *PROGRAM, "--version"], env={}, check=False).returncode == 0
    assert subprocess.run(["/bin/sh", "-c", script, "sh", *PROGRAM, "runn"], env={}, check=False).returncode == 125


def test_an_interrupt_is_quiet() -> None:
    slow = """
import os, signal, sys
from crate_engine.cli import session
def interrupted(self):
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
session.Session.engine = interrupted
sys.argv = ["crate", "ps"]
from crate_engine.cli.__main__ import run_and_exit
run_and_exit()
"""
    shown = subprocess.run([sys.executable, "-c", slow], cwd=REPOSITORY, capture_output=True, timeout=60, check=False)
    assert (shown.returncode, shown.stdout, shown.stderr) == (128 + signal.SIGINT, b"", b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell: str) -> None:
    shown = crate("completion", shell)
    assert shown.returncode == 0
    assert f"_CRATE_COMPLETE=complete_{shell}" in shown.stdout


def test_completion_of_an_unknown_shell_names_the_known_ones() -> None:
    assert crate("completion", "tcsh").stderr == 'crate: error: completion: "tcsh" is not one of bash, zsh, fish\n'


@pytest.mark.parametrize(
    ("words", "offered"), [("crate ru", "run"), ("crate run --work", "--workdir"), ("crate run --network pr", "private")]
)
def test_words_are_completed(words: str, offered: str) -> None:
    environment = {"_CRATE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    assert offered in crate(environment=environment).stdout.splitlines()
