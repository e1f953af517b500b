"""process.terminal: through a console socket, and in the foreground on a real terminal."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from tests.support.runtime import Bundle, OciRuntime
from tests.support.terminal import ConsoleSocket, Session

PROMPT = "prompt> "


@pytest.fixture
def shell(bundle: Bundle) -> Bundle:
    bundle.process.update(terminal=True, args=["sh"])
    bundle.process["env"] += [f"PS1={PROMPT}"]
    return bundle


def test_console_socket_gets_the_terminal(runtime: OciRuntime, shell: Bundle) -> None:
    with ConsoleSocket(runtime.directory / "console") as console:
        identity = runtime.create(shell, "--console-socket", str(console.path))
        terminal, name = console.receive()
        with terminal:
            assert name
            runtime.call("start", identity)
            terminal.expect(PROMPT)
            terminal.send("tty; test -t 0 && test -t 1 && test -t 2 && echo all three\n")
            assert "/dev/console" in terminal.expect("all three\r\n") or "/dev/pts/0" in terminal.expect(PROMPT)
            terminal.send("exit 3\n")
            terminal.rest()
        runtime.wait_stopped(identity)


def test_terminal_controls_the_process(runtime: OciRuntime, shell: Bundle) -> None:
    """Job control: the interrupt key ends the program in the foreground, not the shell."""
    with ConsoleSocket(runtime.directory / "console") as console:
        identity = runtime.start(shell, "--console-socket", str(console.path))
        terminal, _ = console.receive()
        with terminal:
            terminal.expect(PROMPT)
            terminal.send("echo waiting; sleep 1000\n")
            terminal.expect("waiting\r\n")
            time.sleep(0.2)  # until the shell has given the terminal to the program
            terminal.send("\x03")
            terminal.expect(PROMPT)
            terminal.send("echo still here\n")
            terminal.expect("still here\r\n")
        runtime.call("delete", "--force", identity)


def test_size_of_the_terminal(runtime: OciRuntime, shell: Bundle) -> None:
    shell.process["consoleSize"] = {"height": 33, "width": 77}
    with ConsoleSocket(runtime.directory / "console") as console:
        identity = runtime.start(shell, "--console-socket", str(console.path))
        terminal, _ = console.receive()
        with terminal:
            terminal.expect(PROMPT)
            terminal.send("stty size\n")
            terminal.expect("33 77\r\n")
            terminal.resize(40, 90)
            terminal.send("stty size\n")
            terminal.expect("40 90\r\n")
        runtime.call("delete", "--force", identity)


def test_dev_console_is_the_terminal(runtime: OciRuntime, shell: Bundle) -> None:
    with ConsoleSocket(runtime.directory / "console") as console:
        identity = runtime.start(shell, "--console-socket", str(console.path))
        terminal, _ = console.receive()
        with terminal:
            terminal.expect(PROMPT)
            terminal.send("stat -c '%F' /dev/console; echo directly > /dev/console; ls /dev/pts\n")
            terminal.expect("character special file\r\n")
            terminal.expect("directly\r\n")
        runtime.call("delete", "--force", identity)


def test_user_owns_the_terminal(runtime: OciRuntime, shell: Bundle) -> None:
    shell.process["user"] = {"uid": 1000, "gid": 1000}
    with ConsoleSocket(runtime.directory / "console") as console:
        identity = runtime.start(shell, "--console-socket", str(console.path))
        terminal, _ = console.receive()
        with terminal:
            terminal.expect(PROMPT)
            terminal.send("stat -L -c 'owner %u' /proc/self/fd/0\n")
            terminal.expect("owner 1000\r\n")
        runtime.call("delete", "--force", identity)


def test_terminal_without_a_console_socket_fails_create(runtime: OciRuntime, shell: Bundle) -> None:
    identity = runtime.identity()
    runtime.fails("create", "--bundle", str(shell.write()), identity)
    runtime.fails("run", "--detach", "--bundle", str(shell.path), identity)


def test_console_socket_without_a_terminal_fails_create(runtime: OciRuntime, bundle: Bundle) -> None:
    with ConsoleSocket(runtime.directory / "console") as console:
        command = ("create", "--console-socket", str(console.path), "--bundle", str(bundle.write()), runtime.identity())
        runtime.fails(*command)


def test_console_socket_that_is_missing(runtime: OciRuntime, shell: Bundle) -> None:
    missing = str(runtime.directory / "missing")
    runtime.fails("create", "--console-socket", missing, "--bundle", str(shell.write()), runtime.identity())


def test_run_on_a_terminal(runtime: OciRuntime, shell: Bundle) -> None:
    command = runtime.command("run", "--bundle", str(shell.write()), runtime.identity())
    with Session(runtime.account, command, rows=31, columns=71) as session:
        session.expect(PROMPT)
        session.send("stty size; tty\n")
        session.expect("31 71\r\n")
        session.resize(41, 81)
        session.expect(PROMPT)
        session.send("sleep 0.2; stty size\n")
        session.expect("41 81\r\n")
        session.send("exit 5\n")
        assert session.wait() == 5


def test_run_on_a_terminal_restores_it(runtime: OciRuntime, shell: Bundle) -> None:
    command = runtime.command("run", "--bundle", str(shell.write()), runtime.identity())
    # stty tells the state of the outer terminal after the run
    with Session(runtime.account, ["sh", "-c", '"$@"; stty -a', "sh", *command]) as session:
        session.expect(PROMPT)
        session.send("exit\n")
        text = session.rest()
    assert " icanon" in text and " -icanon" not in text
    assert " echo " in text


def test_exec_on_a_terminal(runtime: OciRuntime, bundle: Bundle) -> None:
    with runtime.running(bundle.runs("sleep", "1000")) as identity:
        command = runtime.command("exec", "--tty", "--env", f"PS1={PROMPT}", identity, "sh")
        with Session(runtime.account, command) as session:
            session.expect(PROMPT)
            session.send("test -t 0 && echo on a terminal\n")
            session.expect("on a terminal\r\n")
            session.send("exit 6\n")
            assert session.wait() == 6


def test_exec_with_a_console_socket(runtime: OciRuntime, bundle: Bundle) -> None:
    """As conmon calls it."""
    document = runtime.directory / "process.json"
    process = {"terminal": True, "args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin", f"PS1={PROMPT}"]}
    document.write_text(json.dumps(process))
    with runtime.running(bundle.runs("sleep", "1000")) as identity, ConsoleSocket(runtime.directory / "console") as console:
        pid_file = str(runtime.directory / "pid")
        flags = ("--process", str(document), "--detach", "--tty", "--console-socket", str(console.path), "--pid-file", pid_file)
        runtime.call("exec", *flags, identity, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        terminal, _ = console.receive()
        with terminal:
            terminal.expect(PROMPT)
            terminal.send("exit\n")
            terminal.rest()
