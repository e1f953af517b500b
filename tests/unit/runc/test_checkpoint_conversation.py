"""Talking to criu: a small program that speaks as criu does stands in for versions and failures that no host has at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from crate_runc.checkpoint import conversation, protobuf, request
from crate_runc.checkpoint.request import Answer
from crate_runc.errors import RuncError

SPEAKS = """#!{python}
import os, socket, sys
channel = socket.socket(fileno=int(sys.argv[2]))
asked = channel.recv(65536)
{body}
"""


def criu(path: Path, body: str) -> str:
    """A program that has received a request in `asked` on `channel`."""
    program = path / "criu"
    program.write_text(SPEAKS.format(python=sys.executable, body=body))
    program.chmod(0o755)
    return str(program)


def answers(path: Path, *fields: tuple[int, int | str | bytes]) -> str:
    return criu(path, f"channel.send({protobuf.encode(fields)!r})")


def version(major: int, minor: int) -> tuple[int, bytes]:
    return 10, protobuf.encode([(1, major), (2, minor)])


def test_a_version_is_asked_for_and_understood(tmp_path: Path) -> None:
    program = answers(tmp_path, (1, request.VERSION), (2, 1), version(3, 17))
    assert conversation.check(program) == (program, 31700)


def test_a_criu_that_is_too_old_is_named_with_what_to_install(tmp_path: Path) -> None:
    program = answers(tmp_path, (1, request.VERSION), (2, 1), version(3, 10))
    with pytest.raises(RuncError, match=r"need criu 3\.11 or newer, and .* is 3\.10: install criu \(Debian package criu\)"):
        conversation.check(program)


def test_one_that_ends_without_a_word(tmp_path: Path) -> None:
    with pytest.raises(RuncError, match="ended without an answer"):
        conversation.ask(criu(tmp_path, ""), b"x")


def test_one_whose_answer_is_no_message(tmp_path: Path) -> None:
    with pytest.raises(RuncError, match="its answer cannot be read"):
        conversation.ask(criu(tmp_path, "channel.send(b'\\x08')"), b"x")


def test_a_failure_is_told_with_its_reason(tmp_path: Path) -> None:
    program = answers(tmp_path, (1, request.DUMP), (2, 0), (9, "no such task"))
    with pytest.raises(RuncError, match="criu failed: type dump: no such task"):
        conversation.ask(program, b"x")


def test_a_success_that_ends_badly_is_none(tmp_path: Path) -> None:
    done = protobuf.encode([(1, request.DUMP), (2, 1)])
    with pytest.raises(RuncError, match="it ended with status 7"):
        conversation.ask(criu(tmp_path, f"channel.send({done!r}); sys.exit(7)"), b"x")


def test_notifications_are_heard_with_their_descriptors_and_answered(tmp_path: Path) -> None:
    notice = protobuf.encode([(1, request.NOTIFY), (2, 1), (5, protobuf.encode([(1, "orphan-pts-master"), (2, 9)]))])
    done = protobuf.encode([(1, request.RESTORE), (2, 1), (4, protobuf.encode([(1, 4711)]))])
    body = f"""
reading, writing = os.pipe()
os.write(writing, b"terminal")
socket.send_fds(channel, [{notice!r}], [reading])
assert channel.recv(100) == {request.encode_answer(success=True)!r}
channel.send({done!r})
"""
    heard: list[tuple[str, int, bytes]] = []

    def listen(answer: Answer, fds: list[int]) -> None:
        heard.extend((answer.script, answer.pid, os.read(fd, 100)) for fd in fds)
        for fd in fds:
            os.close(fd)

    assert conversation.ask(criu(tmp_path, body), b"x", listener=listen).pid == 4711
    assert heard == [("orphan-pts-master", 9, b"terminal")]


def test_the_request_may_depend_on_its_pid(tmp_path: Path) -> None:
    done = protobuf.encode([(1, request.DUMP), (2, 1)])
    body = f"assert asked == str(os.getpid()).encode(); channel.send({done!r})"
    assert conversation.ask(criu(tmp_path, body), b"", before=lambda pid: str(pid).encode()).success


def test_only_what_is_named_is_inherited(tmp_path: Path) -> None:
    first, second = os.open("/", os.O_RDONLY), os.open("/", os.O_RDONLY)
    done = protobuf.encode([(1, request.DUMP), (2, 1)])
    body = f"os.fstat({second})\ntry:\n    os.fstat({first})\nexcept OSError:\n    channel.send({done!r})"
    try:
        assert conversation.ask(criu(tmp_path, body), b"x", inherited=[second]).success
    finally:
        os.close(first)
        os.close(second)


def test_a_host_that_criu_does_not_understand(tmp_path: Path) -> None:
    body = f"""
if asked == {request.encode(request.VERSION)!r}:
    channel.send({protobuf.encode([(1, request.VERSION), (2, 1), version(3, 17)])!r})
else:
    print("Error (criu/vdso.c:1): vdso: too new", file=sys.stderr)
    channel.send({protobuf.encode([(1, request.FEATURE_CHECK), (2, 0)])!r})
"""
    with pytest.raises(RuncError, match="does not work on this host: vdso: too new; try `criu check`"):
        conversation.check_host(criu(tmp_path, body))


def test_criu_is_found_without_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """podman calls with nothing in the environment."""
    answers(tmp_path, (1, 1), (2, 1))
    monkeypatch.setattr(conversation, "_PLACES", str(tmp_path))
    monkeypatch.delenv("PATH", raising=False)
    assert conversation.find("") == f"{tmp_path}/criu"
    monkeypatch.setenv("PATH", ".:relative")
    assert conversation.find("criu") == f"{tmp_path}/criu"


@pytest.mark.parametrize("named", ["/nonexistent/criu", "no-such-criu"])
def test_a_missing_criu_is_named_with_its_package(named: str) -> None:
    with pytest.raises(RuncError, match=f"there is no program {named}: install criu"):
        conversation.find(named)


def test_errors_in_the_log_are_told_with_its_place(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    log.write_text("(0.1) Note\n(0.2) Error (criu/a.c:1): first\n(0.3)     1: Error (criu/b.c:2): sec\0ond\n")
    assert str(conversation.with_log(RuncError("criu failed"), str(log))) == f"criu failed; first; second; log file: {log}"
    log.write_text("")
    assert str(conversation.with_log(RuncError("criu failed"), str(log))) == f"criu failed; log file: {log}"
    assert str(conversation.with_log(RuncError("criu failed"), str(tmp_path / "none"))) == "criu failed"
