"""What travels by descriptor: sockets of socket activation, descriptors that the caller preserves, and a pidfd of the process."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.support.runtime import Bundle, OciRuntime

SLEEP = ("/bin/sleep", "1000")
ACTIVATED = 'exec env LISTEN_FDS={count} LISTEN_PID={pid} "$@" 3<{three} 4<{four}'
PRINTS = 'echo "${LISTEN_FDS-none} ${LISTEN_PID-none} $$"; for fd in 3 4 5; do cat <&$fd 2>/dev/null; done; true'


@pytest.fixture
def passed(runtime: OciRuntime) -> tuple[Path, Path]:
    three, four = runtime.directory / "three", runtime.directory / "four"
    three.write_text("three\n")
    four.write_text("four\n")
    return three, four


def activated(
    runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path], *, count: str, pid: str, flags: tuple[str, ...] = ()
) -> list[str]:
    """Run with two open descriptors and systemd's variables; `$$` is the runtime's own pid, as the shell becomes the runtime."""
    command = runtime.command("run", *flags, "--bundle", str(bundle.script(PRINTS).write()), runtime.identity())
    script = ACTIVATED.format(count=count, pid=pid, three=passed[0], four=passed[1])
    return runtime.account.run(["sh", "-c", script, "sh", *command], status=0).out.splitlines()


def test_activated_sockets_reach_the_program(runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path]) -> None:
    assert activated(runtime, bundle, passed, count="2", pid="$$") == ["2 1 1", "three", "four"]


def test_sockets_for_another_process_do_not(runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path]) -> None:
    assert activated(runtime, bundle, passed, count="2", pid="1") == ["none none 1"]


def test_sockets_without_the_number_of_a_process_do_not(runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path]) -> None:
    assert activated(runtime, bundle, passed, count="2", pid="") == ["none none 1"]


def test_preserved_descriptors_come_after_activated_ones(runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path]) -> None:
    found = activated(runtime, bundle, passed, count="1", pid="$$", flags=("--preserve-fds", "1"))
    assert found == ["1 1 1", "three", "four"]


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_preserved_descriptor_that_is_not_open_is_an_error(runtime: OciRuntime, bundle: Bundle, verb: str) -> None:
    if verb == "run":
        result = runtime.fails("run", "--preserve-fds", "40", "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity())
        assert list(runtime.root.iterdir()) == []
    else:
        with runtime.running(bundle.runs(*SLEEP)) as identity:
            result = runtime.fails("exec", "--preserve-fds", "40", identity, "/bin/true")
    assert "preserve" in result.err


def test_exec_passes_preserved_descriptors(runtime: OciRuntime, bundle: Bundle, passed: tuple[Path, Path]) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        command = runtime.command("exec", "--preserve-fds", "1", identity, "/bin/sh", "-c", PRINTS)
        result = runtime.account.run(["sh", "-c", f'exec "$@" 3<{passed[0]} 4<{passed[1]}', "sh", *command], status=0)
    assert result.out.splitlines()[1:] == ["three"]


class PidfdSocket:
    """A listener that gets one message with one descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen()
        self.listener.settimeout(20)

    def received(self) -> tuple[str, int]:
        connection, _ = self.listener.accept()
        with connection, self.listener:
            text, (fd,), _, _ = socket.recv_fds(connection, 100, 4)
        return text.decode(), fd


@pytest.fixture
def receiver(runtime: OciRuntime) -> PidfdSocket:
    if runtime.name == "runc" and " version 1.1." in runtime.call("--version").out:
        pytest.skip("runc has --pidfd-socket from 1.2 on")
    return PidfdSocket(runtime.directory / "pidfd.sock")


def pid_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pid:")).split()[1])


def test_create_sends_a_pidfd_of_the_containers_process(runtime: OciRuntime, bundle: Bundle, receiver: PidfdSocket) -> None:
    identity = runtime.create(bundle.runs(*SLEEP), "--pidfd-socket", str(receiver.path))
    text, fd = receiver.received()
    try:
        assert (text, pid_of(fd)) == ("standard", runtime.pid(identity))
        signal.pidfd_send_signal(fd, signal.SIGKILL)
        assert select.select([fd], [], [], 10)[0], "the process has not ended"
    finally:
        os.close(fd)
    runtime.wait_stopped(identity)


def test_run_sends_one_too(runtime: OciRuntime, bundle: Bundle, receiver: PidfdSocket) -> None:
    identity = runtime.identity()
    runtime.call("run", "-d", "--pidfd-socket", str(receiver.path), "--bundle", str(bundle.runs("/bin/true").write()), identity)
    text, fd = receiver.received()
    os.close(fd)
    assert text == "standard"


def test_exec_sends_one_of_its_own_process(runtime: OciRuntime, bundle: Bundle, receiver: PidfdSocket) -> None:
    with runtime.running(bundle.runs(*SLEEP)) as identity:
        pid_file = runtime.directory / "pid"
        flags = ("-d", "--pidfd-socket", str(receiver.path), "--pid-file", str(pid_file))
        runtime.exec(identity, *SLEEP, flags=flags, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        text, fd = receiver.received()
        try:
            assert (text, pid_of(fd)) == ("setns", int(pid_file.read_text()))
        finally:
            os.close(fd)


def test_nobody_at_the_pidfd_socket_is_an_error_before_anything_is_made(
    runtime: OciRuntime, bundle: Bundle, receiver: PidfdSocket
) -> None:
    receiver.listener.close()
    result = runtime.fails(
        "create", "--pidfd-socket", str(receiver.path), "--bundle", str(bundle.runs(*SLEEP).write()), runtime.identity()
    )
    assert str(receiver.path) in result.err
    assert list(runtime.root.iterdir()) == []
