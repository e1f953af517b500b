"""Every verb and flag that runc has, as `runc VERB --help` lists them, and how a wrong command line is told."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.support import host
from tests.support.runtime import OciRuntime

# What newer runcs than the installed one have as well (1.2 to 1.4): verb → flags.
NEWER = {
    "checkpoint": ["--tcp-skip-in-flight", "--link-remap"],
    "create": ["--pidfd-socket"],
    "exec": ["--pidfd-socket"],
    "run": ["--pidfd-socket"],
    "update": ["--cpu-burst", "--cpu-idle", "--kernel-memory", "--kernel-memory-tcp"],
}
OPTION = re.compile(r"^ +(-.*?)(?: {2,}| *$)")
VERB = re.compile(r"^   ([a-z]+)(?:, [a-z])? {2,}")


class Flag:
    """`words` are its spellings; `takes_value` whether a word follows."""

    def __init__(self, declaration: str) -> None:
        parts = [part.split() for part in declaration.split(", ")]
        self.words = {part[0] for part in parts}
        self.takes_value = any(len(part) > 1 for part in parts)

    def __repr__(self) -> str:
        return " ".join(sorted(self.words))


def page(program: str, *words: str) -> list[str]:
    """`checkpoint --help` of crate-runc also says by its exit status whether that works here."""
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 or words[:1] in (("checkpoint",), ("restore",)), done
    return done.stdout.splitlines()


def flags_on(lines: list[str], heading: str) -> list[Flag]:
    if heading not in lines:
        return []
    listed = [OPTION.match(line) for line in lines[lines.index(heading) + 1 :]]
    return [Flag(found[1]) for found in listed if found]


@cache
def verbs_of_runc() -> list[str]:
    lines = page(host.program("runc"))
    listed = lines[lines.index("COMMANDS:") + 1 : lines.index("GLOBAL OPTIONS:")]
    return [found[1] for found in map(VERB.match, listed) if found]


def ours(program: str, *words: str) -> dict[str, bool]:
    """Each spelling of each flag on a page of crate-runc, and whether it takes a value."""
    heading = "Flags:" if words else "Global flags:"
    return {word: flag.takes_value for flag in flags_on(page(program, *words), heading) for word in flag.words}


@pytest.fixture
def crate_runc(bin_directory: Path) -> str:
    return str(bin_directory / "crate-runc")


def test_the_help_of_runc_is_understood() -> None:
    """Else the tests below would compare nothing."""
    program = host.program("runc")
    assert {"create", "start", "exec", "checkpoint", "update", "features"} <= set(verbs_of_runc())
    create = {str(flag): flag.takes_value for flag in flags_on(page(program, "create"), "OPTIONS:")}
    assert create["--bundle -b"] is True
    assert create["--no-pivot"] is False
    assert len(flags_on(page(program), "GLOBAL OPTIONS:")) >= 9


def test_every_verb_of_runc_is_there(crate_runc: str) -> None:
    for verb in verbs_of_runc():
        assert any(line.startswith(f"  {verb} ") for line in page(crate_runc)), verb


def test_every_global_flag_of_runc_is_there(crate_runc: str) -> None:
    found = ours(crate_runc)
    for flag in flags_on(page(host.program("runc")), "GLOBAL OPTIONS:"):
        for word in flag.words:
            assert found.get(word) is flag.takes_value, word


def test_every_flag_of_every_verb_of_runc_is_there_in_all_its_spellings(crate_runc: str) -> None:
    missing = []
    for verb in verbs_of_runc():
        found = ours(crate_runc, verb)
        for flag in flags_on(page(host.program("runc"), verb), "OPTIONS:"):
            missing += [f"{verb} {word}" for word in flag.words if found.get(word) is not flag.takes_value]
        missing += [f"{verb} {word}" for word in NEWER.get(verb, []) if word not in found]
    assert missing == []


@pytest.mark.parametrize(
    "verb", ["", "create", "start", "state", "delete", "kill", "list", "ps", "exec", "spec", "events", "update"]
)
def test_an_unknown_flag_is_an_error(runtime: OciRuntime, verb: str) -> None:
    words = [verb, "--bogus", "x"] if verb else ["--bogus", "list"]
    assert "flag provided but not defined: -bogus" in runtime.fails(*words).err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["state"], "requires exactly 1 argument(s)"),
        (["state", "a", "b"], "requires exactly 1 argument(s)"),
        (["start"], "requires exactly 1 argument(s)"),
        (["kill"], "requires a minimum of 1 argument(s)"),
        (["kill", "a", "b", "c"], "requires a maximum of 2 argument(s)"),
        (["exec"], "requires a minimum of 1 argument(s)"),
        (["list", "x"], "requires exactly 0 argument(s)"),
        (["features", "x"], "requires exactly 0 argument(s)"),
        (["create", "--bundle"], "flag needs an argument: -bundle"),
        (["run", "--detach=maybe", "x"], "invalid boolean value"),
        (["create", "--preserve-fds", "x", "c"], "for flag -preserve-fds: parse error"),
        (["list", "--format", "yaml"], "invalid format option"),
        (["ps", "--format", "yaml", "missing"], "invalid format option|does not exist"),
    ],
)
def test_a_wrong_command_line_is_told_in_the_words_of_runc(runtime: OciRuntime, words: list[str], text: str) -> None:
    err = runtime.fails(*words).err.replace('\\"', '"')
    assert any(part in err for part in text.split("|")), err


@pytest.mark.parametrize("form", [["--root={}"], ["-root", "{}"], ["--root", "{}"]])
def test_flags_may_be_written_as_go_programs_take_them(runtime: OciRuntime, form: list[str]) -> None:
    words = [word.format(runtime.root) for word in form]
    command = [runtime.program, *words, "list", "-q"]
    assert runtime.account.run(command, status=0).out == ""


@pytest.mark.parametrize("value", ["true", "false", "auto", "1", "0"])
def test_rootless_takes_every_boolean_and_auto(runtime: OciRuntime, value: str) -> None:
    runtime.call(f"--rootless={value}", "list")


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"], ["h"], ["state", "--help"], ["state", "-h"], ["help", "state"]])
def test_help_is_no_error(runtime: OciRuntime, words: list[str]) -> None:
    assert runtime.call(*words).out


def test_the_short_form_of_version(runtime: OciRuntime) -> None:
    assert runtime.call("-v").out == runtime.call("--version").out
