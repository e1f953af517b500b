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
    assert ours == bare | {"crate_engine.cli.session", "crate_engine.cli.render", "crate_engine.errors"}
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


@pytest.fixture
def at(tmp_path: Path) -> Any:
    """Runs crate on an empty store."""
    (tmp_path / "root").mkdir(mode=0o700)
    (tmp_path / "run").mkdir(mode=0o700)
    return lambda *argv: crate("--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), *argv)


@pytest.mark.parametrize(
    ("command", "header"),
    [
        (("ps", "-a"), "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES"),
        (("images",), "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE"),
        (("images", "--digests"), "REPOSITORY   TAG       DIGEST    IMAGE ID   CREATED   SIZE"),
    ],
)
def test_an_empty_store_is_listed_as_a_header(at: Any, command: tuple[str, ...], header: str) -> None:
    shown = at(*command)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, header + "\n", "")
    quiet = at(*command, "-q")
    assert (quiet.returncode, quiet.stdout) == (0, "")


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (("start", "gone"), 125),
        (("start", "-a", "gone"), 125),
        (("exec", "gone", "true"), 125),
        (("run", "--pull", "never", "gone"), 125),
        (("create", "--pull=never", "gone"), 125),
        (("stop", "gone"), 1),
        (("kill", "gone"), 1),
        (("rm", "gone"), 1),
        (("logs", "gone"), 1),
        (("rmi", "gone"), 1),
        (("rm", "-f", "gone"), 0),
        (("rmi", "-f", "gone"), 0),
    ],
)
def test_what_is_not_there_is_one_error_with_dockers_status(at: Any, argv: tuple[str, ...], status: int) -> None:
    shown = at(*argv)
    assert (shown.returncode, shown.stdout) == (status, "")
    assert shown.stderr.startswith("crate: error: ")
    assert "gone" in shown.stderr.splitlines()[0]
    assert [line for line in shown.stderr.splitlines()[1:] if not line.startswith("hint: ")] == []


def test_run_says_that_it_pulls_and_pull_that_nobody_answers(at: Any) -> None:
    shown = at("run", "127.0.0.1:1/a/b")
    assert shown.returncode == 125
    assert shown.stderr.startswith("Unable to find image '127.0.0.1:1/a/b:latest' locally\ncrate: error: ")
    assert at("run", "-q", "127.0.0.1:1/a/b").stderr.startswith("crate: error: ")
    assert at("pull", "127.0.0.1:1/a/b").returncode == 1


def test_every_name_has_its_turn_after_an_error(at: Any) -> None:
    errors = at("rm", "gone", "lost").stderr
    assert "gone" in errors and "lost" in errors


@pytest.mark.parametrize(
    ("flags", "kind"), [((), "object"), (("--type", "image"), "image"), (("--type", "container"), "container")]
)
def test_inspect_of_nothing_is_an_empty_array_and_dockers_words(at: Any, flags: tuple[str, ...], kind: str) -> None:
    shown = at("inspect", *flags, "gone")
    assert (shown.returncode, shown.stdout, shown.stderr) == (1, "[]\n", f"Error: No such {kind}: gone\n")


@pytest.mark.parametrize("argv", [("start", "-a", "a", "b"), ("logs", "--tail", "some", "a")])
def test_arguments_that_no_parser_can_refuse_are_refused(at: Any, argv: tuple[str, ...]) -> None:
    shown = at(*argv)
    assert shown.returncode in (1, 125)
    assert shown.stderr.startswith(f"crate: error: {argv[0]}: ")


def test_info_and_version_tell_what_is_used(at: Any, tmp_path: Path) -> None:
    info = dict(line.split(":", 1) for line in at("info").stdout.splitlines())
    assert info["Data root"].strip() == str(tmp_path / "root")
    assert info["Containers"].strip() == "0 (0 running)"
    version = dict(line.split(":", 1) for line in at("--runtime", "/no/such/runtime", "version").stdout.splitlines())
    assert version["crate"].strip() == __version__
    assert "/no/such/runtime" in version["Runtime"]


@pytest.mark.parametrize("argv", [("ps",), ("images",), ("start", "gone"), ("rm", "gone"), ("exec", "gone", "true")])
def test_commands_on_the_local_store_load_nothing_heavy(tmp_path: Path, argv: tuple[str, ...]) -> None:
    loaded = imported("--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), *argv)
    assert not loaded & (
        HEAVY | {"site", "typing", "subprocess", "tempfile", "argparse", "crate_engine.registry.client", "crate_engine.cli.app"}
    )
    assert len(loaded) < 170
