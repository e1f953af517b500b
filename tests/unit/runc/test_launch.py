from __future__ import annotations

import os
from pathlib import Path

import pytest

from crate_runc.errors import StepError
from crate_runc.process import channel
from crate_runc.steps import launch
from crate_runc.steps.step import ChildContext


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    for name, mode in (("tool", 0o755), ("text", 0o644)):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    return tmp_path


def _find(program: str, search: str) -> str:
    child = ChildContext({}, "/bundle", "/bundle/rootfs", channel.pair()[0], {})
    launch.FindProgram([program], [f"PATH={search}", "HOME=/"], 0, 0).apply(child)
    return child.path


def test_a_name_is_searched_on_the_path(programs: Path) -> None:
    assert _find("tool", f"/nonexistent:{programs}") == f"{programs}/tool"


def test_a_path_is_taken_as_it_is(programs: Path) -> None:
    assert _find(f"{programs}/tool", "") == f"{programs}/tool"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("nosuch", 'exec: "nosuch": executable file not found in $PATH'),
        ("text", 'exec: "text": executable file not found in $PATH'),
        ("folder", 'exec: "folder": executable file not found in $PATH'),
        ("", 'exec: "": executable file not found in $PATH'),
    ],
)
def test_a_name_that_is_not_found(programs: Path, program: str, text: str) -> None:
    with pytest.raises(StepError) as caught:
        _find(program, str(programs))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nosuch", "stat {path}: no such file or directory"),
        ("text", "permission denied"),
        ("folder", "is a directory: permission denied"),
        ("text/x", "stat {path}: not a directory"),
    ],
)
def test_a_path_that_cannot_be_executed(programs: Path, name: str, text: str) -> None:
    path = f"{programs}/{name}"
    with pytest.raises(StepError) as caught:
        _find(path, "")
    assert str(caught.value) == f'exec: "{path}": ' + text.format(path=path)


def test_a_relative_entry_of_the_path_is_refused(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(programs)
    with pytest.raises(StepError, match="cannot run executable found relative to current directory"):
        _find("tool", ":/nonexistent")


def test_the_last_value_of_a_variable_wins() -> None:
    assert launch.environment_of(["A=1", "B=x=y", "A=2", "C="]) == {"A": "2", "B": "x=y", "C": ""}


@pytest.mark.parametrize(
    ("passwd", "uid", "home"),
    [
        (b"root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1000::/home/bob:\n", 1000, "/home/bob"),
        (b"a:x:7:7::/first:\nb:x:7:7::/second:\n", 7, "/first"),
        (b"a:x:7:7:::\n", 7, "/"),
        (b"a:x:07:7::/octal:\n", 7, "/"),
        (b"a:x:7\n", 7, "/"),
        (b"a:x:7:7::" + b"/long" * 2000 + b":\n", 7, "/"),
        (b"a:x:7:7::/no-newline:", 7, "/no-newline"),
        (b"", 0, "/"),
    ],
)
def test_home_is_read_from_passwd(passwd: bytes, uid: int, home: str) -> None:
    assert launch.home_of(passwd, uid) == home


def test_describe_quotes_what_a_shell_would_split() -> None:
    assert launch.Execute(["sh", "-c", "echo 'a b'", ""]).describe() == "execve sh -c 'echo '\\''a b'\\''' ''"


def test_the_environment_of_the_caller_is_not_used() -> None:
    assert os.environ and launch.environment_of([]) == {}
