"""The grammar of the command line, and how failures are told. The verbs themselves run elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crate_runc import cli, help_texts, verbs
from crate_runc.checkpoint import conversation
from crate_runc.errors import RuncError, StateError, UsageError

PACKAGE = Path(cli.__file__).parent
TEXT_LINE = r'time="\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ" level=error msg="(.*)"\n'


def parse(*argv: str) -> cli.Invocation:
    return cli.parse(list(argv), {})


@pytest.mark.parametrize(
    "argv",
    [
        ("--root", "/r", "create", "--bundle", "/b", "c"),
        ("--root=/r", "create", "--bundle=/b", "c"),
        ("-root", "/r", "create", "-b", "/b", "c"),
        ("-root=/r", "create", "-b=/b", "c"),
        ("--root", "/r", "create", "c", "--bundle", "/b"),
        ("--root", "/r", "create", "c", "-b", "/b"),
        ("--root", "/r", "create", "-b", "/b", "--", "c"),
    ],
)
def test_flags_are_taken_in_every_form_that_go_programs_take(argv: tuple[str, ...]) -> None:
    invocation = parse(*argv)
    assert (invocation.verb, invocation.arguments) == ("create", ["c"])
    assert invocation.settings == {"root": "/r"}
    assert invocation.values == {"bundle": "/b"}


@pytest.mark.parametrize(
    ("word", "value"), [("--detach", True), ("-d", True), ("--detach=true", True), ("--detach=false", False), ("-d=0", False)]
)
def test_switches(word: str, value: bool) -> None:
    assert parse("run", word, "c").values == {"detach": value}


def test_exec_leaves_the_programs_own_flags_alone() -> None:
    invocation = parse("exec", "-e", "A=1", "--env=B=2", "-t", "c", "ls", "-t", "--env", "--", "x")
    assert invocation.arguments == ["c", "ls", "-t", "--env", "--", "x"]
    assert invocation.values == {"env": ["A=1", "B=2"], "tty": True}


def test_what_callers_really_run() -> None:
    podman = parse("create", "--bundle", "/u/userdata", "--pid-file", "/u/pidfile", "cid")
    assert podman.values == {"bundle": "/u/userdata", "pid-file": "/u/pidfile"}
    containerd = parse(
        "--root",
        "/r",
        "--log",
        "/b/log.json",
        "--log-format",
        "json",
        "exec",
        "--process",
        "/p",
        "--detach",
        "--pid-file",
        "/f",
        "c1",
    )
    assert containerd.settings == {"root": "/r", "log": "/b/log.json", "log-format": "json"}
    assert containerd.values == {"process": "/p", "detach": True, "pid-file": "/f"}
    assert parse("--root", "/r", "ps", "--format", "json", "c1").values == {"format": "json"}
    assert parse("delete", "--force", "cid").values == {"force": True}
    assert parse("kill", "cid", "15").arguments == ["cid", "15"]


def test_ps_passes_on_the_options_of_ps() -> None:
    invocation = parse("ps", "c", "-o", "pid,args", "-f", "json")
    assert invocation.arguments == ["c", "-o", "pid,args"]
    assert invocation.values == {"format": "json"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--bogus", "state", "c"), "flag provided but not defined: -bogus"),
        (("state", "--bogus", "c"), "flag provided but not defined: -bogus"),
        (("--root",), "flag needs an argument: -root"),
        (("create", "-b"), "flag needs an argument: -bundle"),
        (("bogus",), 'unknown command "bogus"'),
        (("state",), '"state" requires exactly 1 argument(s), not 0'),
        (("state", "a", "b"), '"state" requires exactly 1 argument(s), not 2'),
        (("kill",), '"kill" requires a minimum of 1 argument(s), not 0'),
        (("kill", "a", "b", "c"), '"kill" requires a maximum of 2 argument(s), not 3'),
        (("list", "x"), '"list" requires exactly 0 argument(s), not 1'),
        (("run", "--detach=maybe", "c"), 'invalid boolean value "maybe" for -detach'),
        (("create", "--preserve-fds", "x", "c"), 'invalid value "x" for flag -preserve-fds: parse error'),
        (("create", "--preserve-fds", "-1", "c"), 'invalid value "-1" for flag -preserve-fds: parse error'),
        (("create", "--preserve-fds", "²", "c"), "parse error"),
        (("--log-format", "xml", "list"), 'unknown log format "xml"'),
        (("--rootless", "maybe", "list"), "--rootless must be true, false or auto"),
    ],
)
def test_usage_errors(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        parse(*argv)


@pytest.mark.parametrize(
    ("value", "meaning"), [("true", True), ("1", True), ("T", True), ("false", False), ("0", False), ("auto", None), ("", None)]
)
def test_rootless(value: str, meaning: bool | None) -> None:
    assert parse(f"--rootless={value}", "list").rootless() is meaning
    assert parse("list").rootless() is None


@pytest.mark.parametrize("argv", [("--version",), ("-v",), ("--version", "state"), ("-v", "bogus")])
def test_version_has_the_lines_that_callers_look_for(argv: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(list(argv)) == 0
    out = capfd.readouterr().out
    assert re.fullmatch(r"crate-runc version (\S+)\ncommit: v\1\nspec: 1\.3\.0\npython: 3[.\d]+\n", out)


def test_version_is_that_of_the_distribution() -> None:
    from crate_runc import VERSION

    project = (PACKAGE.parent / "pyproject.toml").read_text()
    assert f'\nversion = "{VERSION}"\n' in project


@pytest.mark.parametrize("argv", [(), ("--help",), ("-h",), ("help",), ("h",)])
def test_help_names_every_verb_and_global_flag(argv: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(list(argv)) == 0
    out = capfd.readouterr().out
    for verb in cli.VERBS:
        assert f"\n  {verb} " in out
    for flag in cli.GLOBAL:
        assert f"--{flag}" in out


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_a_verb_names_its_flags(verb: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "check_host", lambda named: None)
    if verb != "help":
        assert cli.main([verb, "--help"]) == 0
        page = capfd.readouterr().out
        assert page == help_texts.page(verb)
        for flag in cli.VERBS[verb][0]:
            assert f"--{flag}" in page
    assert cli.main(["help", verb]) == 0
    assert capfd.readouterr().out == help_texts.page(verb)


def test_every_verb_has_a_function() -> None:
    assert set(verbs._VERBS) == set(cli.VERBS) - {"help"}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(invocation: cli.Invocation) -> int:
        raise error

    monkeypatch.setattr(verbs, "run", run)


def test_an_error_goes_to_stderr_as_runc_writes_it(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, StateError('it is "so"'))
    assert cli.main(["state", "c"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    match = re.fullmatch(TEXT_LINE, err)
    assert match and match[1] == r"it is \"so\""


@pytest.mark.parametrize("kind", ["json", "text"])
def test_with_a_log_there_is_one_line_in_it_and_the_bare_text_on_stderr(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, RuncError("no\nway"))
    log = tmp_path / "log"
    assert cli.main(["--log", str(log), "--log-format", kind, "state", "c"]) == 1
    assert capfd.readouterr().err == "no\nway\n"
    written = log.read_text()
    if kind == "json":
        value = json.loads(written)
        assert list(value) == ["level", "msg", "time"]
        assert (value["level"], value["msg"]) == ("error", "no\nway")
    else:
        assert re.fullmatch(TEXT_LINE, written)
    assert written.count("\n") == 1


def test_a_usage_error_after_the_log_flag_is_logged_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert cli.main(["--log", str(log), "--log-format=json", "state", "--bogus"]) == 1
    assert json.loads(log.read_text())["msg"] == "flag provided but not defined: -bogus"


def test_a_success_writes_nothing_to_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verbs, "run", lambda invocation: 7)
    assert cli.main(["--log", str(tmp_path / "log"), "state", "c"]) == 7
    assert (tmp_path / "log").read_text() == ""


def test_a_log_that_cannot_be_opened_is_an_error_before_the_verb_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, AssertionError("the verb ran"))
    assert cli.main(["--log", str(tmp_path / "no" / "log"), "state", "c"]) == 1
    assert re.fullmatch(TEXT_LINE, capfd.readouterr().err)


@pytest.mark.parametrize(
    ("argv", "error", "status"),
    [
        (["exec", "c", "x"], StateError("x"), 255),
        (["exec", "c", "x"], OSError(2, "x"), 255),
        (["run", "c"], StateError("x"), 1),
        (["run", "c"], ValueError("x"), 1),
        (["run", "c"], KeyboardInterrupt(), 130),
    ],
)
def test_exit_statuses(argv: list[str], error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, error)
    assert cli.main(argv) == status


def test_an_internal_error_is_one_line_unless_debug_is_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, ValueError("odd"))
    assert cli.main(["state", "c"]) == 1
    assert "internal error: ValueError: odd; run with --debug" in capfd.readouterr().err
    with pytest.raises(ValueError, match="odd"):
        cli.main(["--debug", "state", "c"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(2, "No such file or directory", "/x"), "/x: no such file or directory"),
        (OSError(13, "Permission denied"), "permission denied"),
    ],
)
def test_errors_of_the_kernel_are_told_in_the_words_that_callers_match(
    error: OSError, text: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    failing(monkeypatch, error)
    cli.main(["state", "c"])
    assert f'msg="{text}"' in capfd.readouterr().err


@pytest.mark.parametrize(
    ("flags", "driver"),
    [
        ([], "cgroupfs"),
        (["--systemd-cgroup"], "systemd"),
        (["--systemd-cgroup=false"], "cgroupfs"),
        (["--cgroup-manager", "systemd"], "systemd"),
        (["--cgroup-manager=disabled"], "disabled"),
        (["--systemd-cgroup", "--cgroup-manager", "systemd"], "systemd"),
    ],
)
def test_who_makes_the_cgroup_is_said_by_two_flags(flags: list[str], driver: str) -> None:
    assert cli.parse([*flags, "run", "c"], {}).cgroup_driver() == driver


@pytest.mark.parametrize("flags", [["--cgroup-manager", "openrc"], ["--systemd-cgroup", "--cgroup-manager", "cgroupfs"]])
def test_flags_of_the_cgroup_that_make_no_sense_are_refused(flags: list[str]) -> None:
    with pytest.raises(UsageError, match="--cgroup-manager"):
        cli.parse([*flags, "run", "c"], {})


@pytest.mark.parametrize("verb", ["delete", "state", "kill"])
def test_the_flags_of_the_cgroup_come_before_every_verb(verb: str) -> None:
    assert cli.parse(["--systemd-cgroup", verb, "c"], {}).verb == verb


def test_listing_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path / "none")]
    assert cli.main([*root, "list"]) == 0
    assert capfd.readouterr().out == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    assert cli.main([*root, "list", "-f", "json"]) == 0
    assert json.loads(capfd.readouterr().out) == []
    assert cli.main([*root, "list", "-q"]) == 0
    assert capfd.readouterr().out == ""
    assert cli.main([*root, "list", "-f", "yaml"]) == 1


def test_table_columns_are_as_wide_as_their_longest_cell() -> None:
    assert verbs.table([["ID", "X"], ["a" * 20, "y"]]) == "ID" + " " * 21 + "X\n" + "a" * 20 + "   y\n"


@pytest.mark.parametrize("argv", [["state", "c"], ["kill", "c"], ["delete", "c"], ["start", "c"], ["exec", "c", "x"]])
def test_a_missing_container_is_told_in_the_words_that_callers_match(
    argv: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--root", str(tmp_path / "none"), *argv]) == (255 if argv[0] == "exec" else 1)
    assert 'msg="container does not exist"' in capfd.readouterr().err


def started(*argv: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(PACKAGE / "__main__.py"), *argv],
        capture_output=True,
        text=True,
        env={},
        timeout=60,
        **changes,
    )


def test_works_with_no_environment_at_all(tmp_path: Path) -> None:
    done = started("--root", str(tmp_path / "none"), "delete", "--force", "c")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


HEAVY = {
    "typing",
    "dataclasses",
    "argparse",
    "pathlib",
    "subprocess",
    "logging",
    "tempfile",
    "re",
    "enum",
    "json",
    "shutil",
    "site",
}


@pytest.mark.parametrize("argv", [["state", "c"], ["kill", "c"], ["delete", "-f", "c"], ["list"], ["--version"], ["start", "c"]])
def test_hot_verbs_import_nothing_heavy(argv: list[str], tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); from crate_runc import cli; cli.main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, "--root", str(tmp_path / "none"), *argv],
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = set(done.stderr.split())
    assert "crate_runc.cli" in loaded
    assert not loaded & HEAVY


def test_a_closed_stdout_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(PACKAGE / "__main__.py"), "features"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(write)
    assert "Traceback" not in done.stderr


def test_an_owner_without_a_name_is_told_by_number() -> None:
    assert verbs._user_name(0) == "root"
    assert verbs._user_name(4_000_000_000) == "#4000000000"


def broken_bundle(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text('{"ociVersion": "1.0.0", "root": {}, "process": {"cwd": "x", "args": ["sh"]}}')
    return path


def test_check_prints_all_defects_as_text_or_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = broken_bundle(tmp_path / "bundle")
    assert cli.main(["check", str(path)]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["process.cwd", "root.path"]
    assert cli.main(["check", "--format", "json", "--bundle", str(path)]) == 1
    defects = json.loads(capfd.readouterr().out)
    assert [f"{defect['path']}: {defect['message']}" for defect in defects] == lines
    assert cli.main(["check", "--format", "yaml", str(path)]) == 1


def test_check_and_plan_take_another_configuration(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = broken_bundle(tmp_path / "bundle")
    other = tmp_path / "other.json"
    assert cli.main(["spec", "--bundle", str(tmp_path)]) == 0
    (tmp_path / "config.json").rename(other)
    assert cli.main(["check", "--config", str(other), str(path)]) == 0
    assert cli.main(["plan", "-f", str(other), "-b", str(path), "--console-socket", "/s"]) == 0
    assert "send its master to the console socket" in capfd.readouterr().out
    assert cli.main(["plan", "-b", str(path)]) == 1


def test_a_bundle_is_named_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--bundle", str(tmp_path), str(tmp_path)]) == 1
    assert "name the bundle once" in capfd.readouterr().err


def test_plan_shows_what_its_flags_change(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["spec", "--bundle", str(tmp_path)]) == 0
    plans = []
    for flags in ([], ["--no-pivot"], ["--no-new-keyring"], ["--preserve-fds", "4"]):
        assert cli.main(["plan", *flags, str(tmp_path)]) == 0
        plans.append(capfd.readouterr().out)
    assert len(set(plans)) == len(plans)
    assert "descriptors from 7 on" in plans[3]


def test_debug_says_what_is_called_and_how_it_ends(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "run", lambda invocation: 7)
    log = tmp_path / "log"
    assert cli.main(["--debug", "--log", str(log), "--log-format", "json", "kill", "--all", "c", "9"]) == 7
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(record["level"], record["msg"]) for record in records] == [
        ("debug", "kill c 9: {'all': True}"),
        ("debug", "kill: status 7"),
    ]
    assert capfd.readouterr().err == ""
    assert cli.main(["--debug", "state", "c"]) == 7
    assert capfd.readouterr().err.count("level=debug") == 2
