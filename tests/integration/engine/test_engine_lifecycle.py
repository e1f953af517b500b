"""create, start, ps, stop, rm, logs, exec, inspect, wait: one container from command to command."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import pytest

from .conftest import IMAGE, REPOSITORY, Crate, eventually

DETACHED = ("run", "-d", "--network", "none")


def test_a_container_goes_from_created_to_removed(crate: Crate) -> None:
    identity = crate(
        "create",
        "--name",
        "one",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "trap 'exit 9' USR1; echo up; while :; do sleep 0.05; done",
    ).strip()
    assert crate.state("one")["Status"] == "created"
    assert crate("ps", "-q") == ""
    assert crate("start", "one") == "one\n"
    state = crate.state("one")
    assert (state["Status"], state["Running"]) == ("running", True)
    with open(f"/proc/{state['Pid']}/cmdline", "rb") as file:
        assert file.read().startswith(b"sh\x00-c\x00")
    assert crate("ps", "-q").strip() == identity[:12]
    _, errors = crate.both("rm", "one", status=1)
    assert "is running" in errors
    assert crate("stop", "-t", "5", "one") == "one\n"
    state = crate.state("one")
    assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 9, 0)
    assert crate("rm", "one") == "one\n"
    crate.both("inspect", "one", status=1)


def test_a_container_starts_again_with_what_it_wrote(crate: Crate) -> None:
    crate("run", "--name", "again", "--network", "none", IMAGE, "sh", "-c", "echo x >> /count; wc -l < /count")
    assert crate("start", "-a", "again") == "2\n"
    assert crate("logs", "again") == "1\n2\n"


def test_stop_uses_the_images_signal_and_kills_after_the_timeout(crate: Crate) -> None:
    script = "trap 'exit 4' USR1; trap '' TERM; while :; do sleep 0.05; done"
    crate(*DETACHED, "--name", "polite", IMAGE, "sh", "-c", script)
    crate("stop", "polite")
    assert crate.state("polite")["ExitCode"] == 4
    crate(*DETACHED, "--name", "stubborn", IMAGE, "sh", "-c", "trap '' USR1; while :; do sleep 0.05; done")
    started = time.monotonic()
    crate("stop", "-t", "1", "stubborn")
    assert 1 <= time.monotonic() - started < 5
    assert crate.state("stubborn")["ExitCode"] == 137
    assert crate("stop", "stubborn") == "stubborn\n"


def test_names_are_exclusive_and_ids_may_be_shortened(crate: Crate) -> None:
    first = crate("create", "--name", "taken", IMAGE).strip()
    _, errors = crate.both("create", "--name", "taken", IMAGE, status=125)
    assert "in use" in errors
    assert crate.inspect(first[:6])["Id"] == first
    other = crate("create", IMAGE).strip()
    name = str(crate.inspect(other)["Name"])
    assert "_" in name
    crate("rm", "taken")
    crate("create", "--name", "taken", IMAGE)


def test_logs_keep_streams_apart_and_can_be_cut(crate: Crate) -> None:
    crate(
        "run",
        "--name",
        "talker",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "for i in 1 2 3; do echo $i; done; echo e >&2; printf end",
    )
    out, errors = crate.both("logs", "talker")
    assert (out, errors) == ("1\n2\n3\nend", "e\n")
    out, errors = crate.both("logs", "--tail", "2", "talker")
    assert out + errors in ("ende\n", "3\ne\n", "3\nend")
    stamped = crate("logs", "-t", "talker").splitlines()
    assert stamped[0].endswith("Z 1")
    assert stamped[0].startswith("20")


def test_followed_logs_end_with_the_container(crate: Crate) -> None:
    crate(*DETACHED, "--name", "slow", IMAGE, "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    started = time.monotonic()
    assert crate("logs", "-f", "slow") == "1\n2\n3\n"
    assert time.monotonic() - started > 0.3
    assert crate("logs", "-f", "slow") == "1\n2\n3\n"


def test_bytes_that_are_not_text_survive_the_log(crate: Crate) -> None:
    crate("run", "-d", "--name", "bytes", "--network", "none", IMAGE, "printf", r"\377\000x\n")
    eventually(lambda: crate.state("bytes")["Status"] == "exited")
    process = crate.popen("logs", "bytes")
    assert process.communicate(timeout=10)[0] == b"\xff\x00x\n"


def test_exec_runs_beside_the_program(crate: Crate) -> None:
    crate(*DETACHED, "--name", "box", "-e", "A=1", "-w", "/tmp", IMAGE, "sleep", "100")
    assert crate("exec", "box", "sh", "-c", "echo $A $PWD; cat /proc/1/comm; exit 5", status=5) == "1 /tmp\nsleep\n"
    assert (
        crate("exec", "-i", "-e", "B=2", "-w", "/bin", "-u", "bob", "box", "sh", "-c", "cat; echo $B $PWD; id -un", input="in\n")
        == "in\n2 /bin\nbob\n"
    )
    crate("exec", "box", "nosuch", status=127)
    crate("exec", "box", "/etc", status=126)
    crate("exec", "-d", "box", "sh", "-c", "echo there > /tmp/file")
    eventually(lambda: crate.popen("exec", "box", "test", "-s", "/tmp/file").wait() == 0)
    crate("stop", "-t", "0", "box")
    _, errors = crate.both("exec", "box", "true", status=125)
    assert "container not running" in errors


def test_exec_ends_although_a_child_keeps_the_output_open(crate: Crate) -> None:
    crate(*DETACHED, "--name", "box", IMAGE, "sleep", "100")
    started = time.monotonic()
    assert crate("exec", "box", "sh", "-c", "sleep 50 & echo done") == "done\n"
    assert time.monotonic() - started < 10


def test_an_attached_container_that_exits_at_once_loses_nothing(crate: Crate) -> None:
    for _ in range(5):
        assert crate("run", "--rm", "--network", "none", IMAGE, "seq", "1", "3000").split() == [
            str(number) for number in range(1, 3001)
        ]


def test_inspect_has_dockers_shape(crate: Crate) -> None:
    crate("run", "--name", "shown", "--network", "none", "-e", "A=1", "-w", "/tmp", IMAGE, "sh", "-c", "exit 3", status=3)
    document = json.loads(crate("inspect", "shown"))[0]
    assert document["Name"] == "/shown"
    assert document["Path"] == "sh"
    assert document["Args"] == ["-c", "exit 3"]
    assert document["State"]["ExitCode"] == 3
    assert document["State"]["FinishedAt"] > document["State"]["StartedAt"]
    assert document["Config"]["WorkingDir"] == "/tmp"
    assert document["Config"]["StopSignal"] == "SIGUSR1"
    assert document["Config"]["Labels"] == {"org.example.title": "test"}
    assert document["HostConfig"]["NetworkMode"] == "none"
    assert len(document["Image"]) == 71


def test_a_stored_input_stays_open_until_its_client_leaves(crate: Crate) -> None:
    process = crate.popen(
        "run",
        "-i",
        "--name",
        "reader",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "echo ready; cat; echo end",
        stdin=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdin.write(b"line\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"line\n"
    process.kill()
    process.wait()
    process.stdin.close()
    eventually(lambda: crate.state("reader")["Status"] == "exited")
    assert crate("logs", "reader") == "ready\nline\nend\n"


@pytest.mark.parametrize(
    "arguments",
    [("-p", "99999:1"), ("-p", "x"), ("--user", "a b"), ("-v", "/x"), ("-w", "here"), ("--name", "-x"), ("--hostname", "a b")],
)
def test_what_cannot_be_understood_changes_nothing(crate: Crate, arguments: tuple[str, ...]) -> None:
    _, errors = crate.both("create", *arguments, IMAGE, status=125)
    assert errors.startswith("crate: error: ")
    assert crate("ps", "-aq") == ""


@pytest.mark.parametrize("kind", ["fuse-overlayfs", "copy"])
def test_other_snapshots_than_an_overlay_work_alike(crate: Crate, kind: str) -> None:
    """The kind is decided by the host; here the record of a created container is rewritten."""
    if kind == "fuse-overlayfs" and not shutil.which(kind):
        pytest.skip("needs fuse-overlayfs")
    if kind == "fuse-overlayfs" and crate.start(["python3", "-c", "open('/dev/fuse', 'r+b', buffering=0)"]).wait():
        pytest.skip(f"user {crate.uid} may not open /dev/fuse")
    script = "test -x /bin/busybox && rm /etc/group && echo new > /etc/new && chown 5:5 /etc/new && ls /etc"
    identity = crate("create", "--name", "other", "--network", "none", IMAGE, "sh", "-c", script).strip()
    directory = crate.root / "containers" / identity
    record = json.loads((directory / "container.json").read_text())
    record["snapshot"] |= {"kind": kind} | ({"program": shutil.which(kind)} if kind == "fuse-overlayfs" else {})
    (directory / "container.json").write_text(json.dumps(record))
    if kind == "copy":
        (layer,) = record["snapshot"]["lower"]
        copy = f"import sys; sys.path.append({str(REPOSITORY)!r})\nfrom crate_engine.layers import snapshot\nfrom crate_engine.system import userns\n"
        copy += f"userns.run(userns.choose(), snapshot.fill, {{'lower': [{layer!r}]}}, {str(directory / 'rootfs')!r})"
        assert crate.start([sys.executable, "-c", copy]).wait() == 0
    assert crate("start", "-a", "other").split() == ["hostname", "hosts", "new", "passwd", "resolv.conf"]
    crate("rm", "other")
