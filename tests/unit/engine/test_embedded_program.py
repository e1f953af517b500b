"""The embedded program really runs: on this machine's processor, and on the other one where qemu's user emulation is installed."""

from __future__ import annotations

import os
import platform
import resource
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from crate_engine.embedded import amd64, arm64, elf, program
from crate_engine.embedded.assembler import Assembler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_engine.embedded.machine import Machine

NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
EMULATORS = {"amd64": "qemu-x86_64", "arm64": "qemu-aarch64"}


class Program:
    def __init__(self, path: Path, emulator: list[str]) -> None:
        self.path = path
        self.argv = [*emulator, str(path)]

    def run(self, *arguments: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self.argv, *arguments], input=stdin, env=env, capture_output=True, timeout=20)


def prepare(machine: Machine, path: Path, content: bytes) -> Program:
    emulator: list[str] = []
    if machine.architecture != NATIVE:
        name = EMULATORS[machine.architecture]
        found = shutil.which(f"{name}-static") or shutil.which(name)
        if not found:
            pytest.skip(f"{name}-static is not installed (qemu-user-static)")
        emulator = [found]
    path.write_bytes(content)
    path.chmod(0o755)
    return Program(path, emulator)


@pytest.fixture(params=[amd64, arm64], ids=["amd64", "arm64"])
def machine(request: pytest.FixtureRequest) -> Machine:
    chosen: Machine = request.param
    return chosen


@pytest.fixture
def hello(machine: Machine, tmp_path: Path) -> Program:
    return prepare(machine, tmp_path / "hello", program.executable(machine))


def facts(output: bytes) -> dict[str, str]:
    lines = [line for line in output.decode().splitlines() if line.startswith("  ")]
    return {line[2:22].strip(): line[22:].strip() for line in lines}


def test_the_facts_are_those_that_the_kernel_tells_this_test_too(hello: Program) -> None:
    result = hello.run()
    told = facts(result.stdout)
    status = Path("/proc/self/status").read_text()
    bits = int(status.split("CapEff:")[1].split()[0], 16).bit_count()
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    interfaces = [line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    assert result.returncode == 0
    assert result.stderr == b""
    assert told["process"].endswith(f"started by {os.getpid()}")
    assert told["user"] == f"{os.getuid()}, group {os.getgid()}"
    assert told["host name"] == os.uname().nodename
    assert told["kernel"].startswith(f"Linux {os.uname().release} on ")
    assert told["working directory"] == os.getcwd()
    assert told["root directory"].endswith(f"({len(os.listdir('/'))} in all)")
    assert told["mounts"] == str(len(Path("/proc/self/mountinfo").read_text().splitlines()))
    assert told["network"].split() == interfaces
    assert told["capabilities"] == f"{bits} of {last + 1}"
    assert "no_new_privs" not in told["privileges"]


def test_a_name_is_asked_for_not_remembered(hello: Program) -> None:
    """In namespaces of its own the same program tells other facts."""
    unshare = ["unshare", "--user", "--map-root-user", "--uts", "--net", "--pid", "--fork", "--mount", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("user namespaces cannot be made here")
    command = [*unshare, "sh", "-c", 'hostname here && exec "$@"', "sh", *hello.argv]
    told = facts(subprocess.run(command, capture_output=True, check=True).stdout)
    assert told["process"] == "1, started by 0"
    assert told["processes"] == "1 (1 in all)"
    assert told["user"] == "0, group 0"
    assert told["host name"] == "here"
    assert told["network"] == "lo"
    if os.geteuid():
        assert told["user ids"] == f"1: 0 in here is {os.geteuid()} outside"


def test_no_new_privs_is_seen(hello: Program) -> None:
    told = facts(subprocess.run(["setpriv", "--no-new-privs", *hello.argv], capture_output=True, check=True).stdout)
    assert told["privileges"] == "cannot grow (no_new_privs)"


@pytest.mark.parametrize(("given", "status"), [("0", 0), ("7", 7), ("255", 255), (None, 0)])
def test_exit_ends_with_the_status_asked_for(hello: Program, given: str | None, status: int) -> None:
    assert hello.run("exit", *([given] if given else [])).returncode == status


def test_echo_copies_every_byte(hello: Program) -> None:
    content = bytes(range(256)) * 1000
    result = hello.run("echo", stdin=content)
    assert (result.returncode, result.stdout) == (0, content)


def test_args_and_env_print_what_they_were_given(hello: Program) -> None:
    arguments = ["a", "", "b c", "newline\nwithin", "é", *(str(number) for number in range(3000))]
    assert hello.run("args", *arguments).stdout.decode() == "".join(f"{argument}\n" for argument in arguments)
    assert sorted(hello.run("env", env={"A": "1", "B": ""}).stdout.splitlines()) == [b"A=1", b"B="]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN + 3])
def test_sleep_ends_with_the_signal_it_was_sent(hello: Program, number: int) -> None:
    if len(hello.argv) > 1 and number >= signal.SIGRTMIN:
        pytest.skip("qemu's user emulation renumbers real-time signals")
    process = subprocess.Popen([*hello.argv, "sleep"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout:
        assert process.stdout.readline() == program.WAITING.encode()
        process.send_signal(signal.SIGWINCH)
        process.send_signal(signal.SIGCHLD)
        process.send_signal(number)
        assert process.stdout.read() == f"signal {int(number)}\n".encode()
        assert process.wait(10) == 128 + number


def test_sleep_wakes_by_itself_after_the_time_given(hello: Program) -> None:
    assert hello.run("sleep", "0").returncode == 0


def test_an_unknown_command_changes_nothing_and_tells_the_usage_on_standard_error(hello: Program) -> None:
    result = hello.run("frobnicate")
    assert (result.returncode, result.stdout, result.stderr.decode()) == (2, b"", program.USAGE)


def test_output_that_cannot_be_written_is_a_failure(hello: Program) -> None:
    with open("/dev/full", "wb") as full:
        assert subprocess.run(hello.argv, stdout=full).returncode == 1


def test_the_program_needs_no_more_than_a_megabyte(hello: Program) -> None:
    if len(hello.argv) > 1:
        pytest.skip("an emulator needs memory of its own")
    limited = lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 20, 1 << 20))  # noqa: E731
    assert subprocess.run(hello.argv, preexec_fn=limited, capture_output=True).returncode == 0


def test_the_file_keeps_code_and_writable_memory_apart(machine: Machine) -> None:
    content = program.executable(machine)
    kind, number, _, entry, headers, sections = struct.unpack_from("<HHIQQQ", content, 16)
    count = struct.unpack_from("<H", content, 56)[0]
    flags = [struct.unpack_from("<II", content, headers + place * 56)[1] for place in range(count)]
    assert (content[:6], kind, number, sections) == (b"\x7fELF\x02\x01", 2, machine.elf_machine, 0)
    assert entry == elf.ENTRY
    assert not [flag for flag in flags if flag & 3 == 3]


@pytest.mark.parametrize(
    ("left", "operation", "right", "result"),
    [
        (200, "+", 55, 255),
        (7, "-", 9, -2),
        (12, "*", 12, 144),
        (-3, "*", 5, -15),
        (1000, "/", 7, 142),
        (1000, "%", 7, 6),
        (0x1FF, "&", 0xF0, 0xF0),
        (-0x80000000, "+", 0, -0x80000000),
    ],
)
def test_numbers_are_combined_as_arithmetic_says(
    machine: Machine, tmp_path: Path, left: int, operation: str, right: int, result: int
) -> None:
    a = Assembler(machine)
    value = a.slot()
    a.combine(value, left, operation, right)  # type: ignore[arg-type]
    with a.when(value, "==", result):
        a.system_call(value, "exit_group", 42)
    a.system_call(value, "exit_group", 1)
    assert prepare(machine, tmp_path / "program", a.executable()).run().returncode == 42


@pytest.mark.parametrize("condition", ["==", "!=", "<", ">=", "<=", ">"])
@pytest.mark.parametrize(("left", "right"), [(1, 2), (2, 1), (2, 2), (-1, 1), (1, -1)])
def test_conditions_hold_as_for_signed_numbers(machine: Machine, tmp_path: Path, condition: str, left: int, right: int) -> None:
    a = Assembler(machine)
    value = a.slot()
    with a.when(left, condition, right):  # type: ignore[arg-type]
        a.system_call(value, "exit_group", 1)
    a.system_call(value, "exit_group", 0)
    holds = {
        "==": left == right,
        "!=": left != right,
        "<": left < right,
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
    }
    assert prepare(machine, tmp_path / "program", a.executable()).run().returncode == int(holds[condition])


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_memory_is_read_and_written_in_every_size(machine: Machine, tmp_path: Path, size: int) -> None:
    a = Assembler(machine)
    value, memory = a.slot(), a.buffer(16)
    a.store(memory, -1)
    a.store(memory, 0x41, size=size)  # type: ignore[arg-type]
    a.store(memory + 8, 0)
    a.load(value, memory, size=size)  # type: ignore[arg-type]
    a.store(memory + 8, value)
    a.system_call(value, "write", 1, memory, 16)
    a.system_call(value, "exit_group", 0)
    expected = (0x41).to_bytes(size, "little") + b"\xff" * (8 - size) + (0x41).to_bytes(8, "little")
    assert prepare(machine, tmp_path / "program", a.executable()).run().stdout == expected


def test_a_label_out_of_reach_is_refused() -> None:
    with pytest.raises(ValueError, match="out of reach"):
        arm64.branch("==", 1 << 21)
    with pytest.raises(ValueError, match="out of reach"):
        arm64.address(0, 1 << 20)
    with pytest.raises(ValueError, match="cannot be encoded"):
        arm64.load(0, 1, 4096 * 8, 8)
