from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crate_engine.errors import HostError
from crate_engine.runtime import client
from crate_engine.runtime.command import Runtime

RUNTIME = Runtime(("/usr/sbin/runc",), "/state")


def test_command_lines_are_runcs() -> None:
    common = ["/usr/sbin/runc", "--root", "/state", "--log", "/l", "--log-format", "json"]
    options: dict[str, Any] = {"log": "/l", "bundle": "/b", "pid_file": "/p", "console_socket": None}
    assert RUNTIME.create("id", **options) == [*common, "create", "--bundle", "/b", "--pid-file", "/p", "id"]
    assert RUNTIME.run_detached("id", **options | {"console_socket": "/c"}) == [
        *common, "run", "--detach", "--bundle", "/b", "--pid-file", "/p", "--console-socket", "/c", "id",
    ]  # fmt: skip
    assert RUNTIME.start("id", log="/l") == [*common, "start", "id"]
    assert RUNTIME.delete("id", force=True) == ["/usr/sbin/runc", "--root", "/state", "delete", "--force", "id"]
    assert RUNTIME.exec_detached("id", log="/l", process="/x", pid_file="/p", console_socket="/c") == [
        *common, "exec", "--detach", "--process", "/x", "--pid-file", "/p", "--console-socket", "/c", "id",
    ]  # fmt: skip
    assert Runtime.from_record(RUNTIME.to_record()).to_record() == RUNTIME.to_record()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("exec: stat /x: No such file or directory", 127),
        ('exec: "/etc": permission denied', 126),
        ("exec format error", 126),
        ("is a directory", 126),
        ("anything else", 125),
    ],
)
def test_texts_of_runtimes_have_dockers_exit_codes(text: str, code: int) -> None:
    assert client.exit_code_of(text) == code


def test_the_last_error_of_the_log_is_what_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(
        '{"level":"warning","msg":"w"}\n{"level":"error","msg":"first"}\nnoise\n{"level":"error","msg":"last: permission denied"}\n{"level":"info","msg":"i"}\n'
    )
    failed = client.failure(RUNTIME, 1, str(log), b"said")
    assert (str(failed), failed.exit_code) == ("last: permission denied", 126)
    log.write_text("")
    assert str(client.failure(RUNTIME, 1, str(log), b"one\ntwo\n")) == "two"
    assert str(client.failure(RUNTIME, -9, str(log), b"")) == "runc was killed by signal 9 and said nothing"
    assert "exit status 3" in str(client.failure(RUNTIME, 3, str(tmp_path / "missing"), b""))


def test_runtimes_are_found_by_name_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-runtime"
    program.write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", f"relative:{tmp_path}")
    with pytest.raises(HostError, match="not found"):
        client.find("my-runtime", "/r")
    program.chmod(0o755)
    assert client.find("my-runtime", "/r").program == (str(program),)
    assert client.find(str(program), "/r").program == (str(program),)
    assert client.find("crate-runc", "/r").own_python
    for wrong in (str(tmp_path), str(tmp_path / "nothing"), "no-such-runtime"):
        with pytest.raises(HostError):
            client.find(wrong, "/r")
