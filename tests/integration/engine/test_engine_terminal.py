"""`-t`: the pseudoterminal, raw mode, window size, in `run` and `exec`."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from .conftest import IMAGE, Crate, eventually


class Terminal:
    """The caller's terminal: a pseudoterminal whose slave is the command's standard streams and controlling terminal."""

    def __init__(self, crate: Crate, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(24, 80, tell=False)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""
        slave = self.slave

        def take_terminal() -> None:
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = crate.popen(*arguments, stdin=slave, stdout=slave, stderr=slave, preexec_fn=take_terminal)

    def resize(self, rows: int, columns: int, *, tell: bool = True) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        if tell:
            self.process.send_signal(signal.SIGWINCH)

    def write(self, text: str) -> None:
        os.write(self.master, text.encode())

    def expect(self, text: str, *, within: float = 10) -> None:
        deadline = time.monotonic() + within
        while text.encode() not in self.seen:
            remaining = deadline - time.monotonic()
            assert remaining > 0, f"{text!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], remaining)[0]:
                self.seen += os.read(self.master, 65536)

    def wait(self) -> int:
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536)
        return self.process.returncode

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before


@contextmanager
def terminal(crate: Crate, *arguments: str) -> Iterator[Terminal]:
    opened = Terminal(crate, *arguments)
    try:
        yield opened
    finally:
        if opened.process.poll() is None:
            opened.process.kill()
            opened.process.wait()
        os.close(opened.master)
        os.close(opened.slave)


RUN = ("run", "--rm", "-it", "--network", "none", IMAGE)


def test_the_program_has_a_terminal_of_the_callers_size(crate: Crate) -> None:
    with terminal(crate, *RUN, "sh", "-c", "tty; stty size; echo $TERM; exit 5") as session:
        assert session.wait() == 5
        session.expect("/dev/")
        session.expect("24 80")
        session.expect("xterm")
        assert session.restored


def test_keys_reach_the_program_and_control_c_only_it(crate: Crate) -> None:
    with terminal(crate, *RUN, "sh") as session:
        session.write("echo $((6*7))\n")
        session.expect("\n42")
        session.write("sleep 100\n")
        eventually(lambda: not session.restored)
        time.sleep(0.3)
        session.write("\x03")
        session.write("echo $((7*7)); exit 3\n")
        session.expect("\n49")
        assert session.wait() == 3
        assert session.restored


def test_a_new_window_size_reaches_the_program(crate: Crate) -> None:
    with terminal(crate, *RUN, "sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done") as session:
        session.expect("ready")
        session.resize(33, 99)
        session.expect("33 99")
        session.process.send_signal(signal.SIGTERM)  # to the shell in the container, which is process 1 and ignores it
        os.kill(session.process.pid, 0)
        session.write("\x1c")


def test_the_terminal_is_restored_when_the_container_is_killed(crate: Crate) -> None:
    with terminal(
        crate, "run", "--name", "tty", "-it", "--network", "none", IMAGE, "sh", "-c", "echo ready; sleep 100"
    ) as session:
        session.expect("ready")
        assert not session.restored
        crate("kill", "tty")
        assert session.wait() == 137
        assert session.restored


def test_the_terminal_is_restored_when_the_monitor_is_killed(crate: Crate) -> None:
    with terminal(
        crate, "run", "--name", "tty", "-it", "--network", "none", IMAGE, "sh", "-c", "echo ready; sleep 100"
    ) as session:
        session.expect("ready")
        identity = crate("ps", "-q", "--no-trunc").strip()
        os.kill(crate.monitor(identity), signal.SIGKILL)
        assert session.wait() == 125
        assert session.restored


def test_a_program_that_is_not_found_leaves_the_terminal_alone(crate: Crate) -> None:
    with terminal(crate, *RUN, "nosuch") as session:
        assert session.wait() == 127
        assert session.restored


def test_exec_has_a_terminal_of_its_own(crate: Crate) -> None:
    crate("run", "-d", "--name", "box", "--network", "none", IMAGE, "sleep", "100")
    with terminal(crate, "exec", "-it", "box", "sh", "-c", "stty size; tty; read line; echo got $line; exit 6") as session:
        session.expect("24 80")
        session.write("hello\n")
        assert session.wait() == 6
        session.expect("got hello")
        assert session.restored


def test_a_detached_terminal_is_logged(crate: Crate) -> None:
    crate("run", "-dt", "--name", "box", "--network", "none", IMAGE, "sh", "-c", "tty >/dev/null && echo yes")
    eventually(lambda: crate.state("box")["Status"] == "exited")
    assert crate("logs", "box") == "yes\r\n"


def test_output_without_a_callers_terminal_passes_through(crate: Crate) -> None:
    assert crate("run", "--rm", "-t", "--network", "none", IMAGE, "echo", "hi") == "hi\r\n"
    process = crate.popen("run", "--rm", "-t", "--network", "none", IMAGE, "sh", "-c", "seq 1 20000", stderr=subprocess.STDOUT)
    out = process.communicate(timeout=30)[0].decode().split()
    assert out == [str(number) for number in range(1, 20001)]
