"""What callers read when something goes wrong: exit statuses, the words they search for, and the JSON line of --log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")


@pytest.mark.parametrize("verb", [("state",), ("start",), ("kill",), ("delete",), ("exec",)])
def test_missing_container(runtime: OciRuntime, verb: tuple[str, ...]) -> None:
    words = ["missing", "/bin/true"] if verb == ("exec",) else ["missing"]
    assert "container does not exist" in runtime.fails(*verb, *words).err


def test_forced_delete_of_a_missing_container_is_no_error(runtime: OciRuntime) -> None:
    runtime.call("delete", "--force", "missing")


def test_id_that_is_taken(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        result = runtime.fails("create", "--bundle", str(bundle.path), identity)
        assert "container with given ID already exists" in result.err
        assert runtime.status(identity) == "running"


@pytest.mark.parametrize("identity", ["", ".", "..", "a/b", "../c", "a b", "a\nb", "é"])
def test_id_that_could_be_a_path(runtime: OciRuntime, bundle: Bundle, identity: str) -> None:
    runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), identity)
    assert list(runtime.root.iterdir()) == []


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("nosuchprogram", "executable file not found in $PATH"),
        ("/bin/nosuch", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("/etc", "permission denied|is a directory"),
    ],
)
def test_program_that_cannot_be_run_fails_create(runtime: OciRuntime, bundle: Bundle, program: str, text: str) -> None:
    identity = runtime.identity()
    result = runtime.fails("create", "--bundle", str(bundle.runs(program).write()), identity)
    assert any(words in result.err for words in text.split("|")), result
    assert program in result.err
    assert list(runtime.root.iterdir()) == []


def test_bundle_without_configuration(runtime: OciRuntime, tmp_path: Path) -> None:
    assert "config.json" in runtime.fails("create", "--bundle", str(tmp_path), runtime.identity()).err


def test_configuration_that_is_not_json(runtime: OciRuntime, bundle: Bundle) -> None:
    (bundle.write() / "config.json").write_text("{")
    runtime.fails("create", "--bundle", str(bundle.path), runtime.identity())
    assert list(runtime.root.iterdir()) == []


def test_root_file_system_that_is_missing(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.config["root"]["path"] = "elsewhere"
    assert "no such file or directory" in runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity()).err


def test_namespace_that_is_unknown_or_given_twice(runtime: OciRuntime, bundle: Bundle) -> None:
    bundle.linux["namespaces"].append({"type": "pid"})
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())
    bundle.linux["namespaces"][-1]["type"] = "unheard-of"
    runtime.fails("create", "--bundle", str(bundle.write()), runtime.identity())


def test_failed_create_undoes_what_it_did(runtime: OciRuntime, bundle: Bundle) -> None:
    """The mount fails after namespaces and cgroup are made; the leak check looks for them."""
    bundle.mount("/mnt", type="bind", source="/nonexistent/source", options=["bind"])
    result = runtime.fails("create", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())
    assert "/nonexistent/source" in result.err
    assert list(runtime.root.iterdir()) == []


def test_log_gets_one_line_of_json_with_the_text_of_stderr(runtime: OciRuntime) -> None:
    log = runtime.directory / "log.json"
    result = runtime.fails("--log", str(log), "--log-format", "json", "state", "missing")
    (line,) = log.read_text().splitlines()
    record = json.loads(line)
    assert record["level"] == "error"
    assert "container does not exist" in record["msg"]
    assert record["msg"] in result.err
    assert set(record) == {"level", "msg", "time"}
    assert record["time"][10] == "T"


def test_log_stays_empty_when_all_is_well(runtime: OciRuntime, bundle: Bundle) -> None:
    log = runtime.directory / "log.json"
    bundle.runs("/bin/true").write()
    runtime.call("--log", str(log), "--log-format", "json", "run", "--bundle", str(bundle.path), runtime.identity())
    assert not log.exists() or log.read_text() == ""


def test_create_prints_nothing(runtime: OciRuntime, bundle: Bundle) -> None:
    out, err = runtime.directory / "out", runtime.directory / "err"
    with open(out, "wb") as stdout, open(err, "wb") as stderr:
        runtime.create(bundle.runs(*SLEEP), stdout=stdout, stderr=stderr)
    assert out.read_bytes() + err.read_bytes() == b""


@pytest.mark.parametrize("words", [["nosuchverb"], ["create", "--nosuchflag", "x"], ["create"], ["start", "a", "b"], ["state"]])
def test_command_line_that_cannot_be_understood(runtime: OciRuntime, words: list[str]) -> None:
    result = runtime.call(*words, status=None)
    assert result.status not in (0, 127) or (runtime.name == "runc" and words == ["nosuchverb"]), result


def test_environment_of_a_caller_may_be_empty(runtime: OciRuntime, bundle: Bundle) -> None:
    """podman calls kill and delete with XDG_RUNTIME_DIR alone."""
    identity = runtime.start(bundle.runs(*SLEEP))
    bare = ["env", "-i", "XDG_RUNTIME_DIR=/nonexistent"]
    runtime.account.run([*bare, *runtime.command("kill", identity, "9")], status=0)
    runtime.wait_stopped(identity)
    runtime.account.run([*bare, *runtime.command("delete", "--force", identity)], status=0)
