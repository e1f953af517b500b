from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import pytest

from crate_runc.process import start_gate, stub


def _run(image: bytes, tmp_path: Path, gate: int, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = tmp_path / "stub"
    program.write_bytes(image)
    program.chmod(0o755)
    return subprocess.run([program, *arguments], pass_fds=[gate], capture_output=True, env={"A": "b"}, timeout=10)


@pytest.fixture
def machine() -> str:
    return os.uname().machine


def test_executes_the_program_with_its_own_arguments_and_environment(machine: str, tmp_path: Path) -> None:
    gate = start_gate.open_gate()
    done = _run(stub.build(machine, b"/bin/sh", gate), tmp_path, gate, "-c", 'echo "$0 $1 $A"', "zero", "one")
    os.close(gate)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"zero one b\n", b"")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"/nonexistent/program", b"no such file or directory"),
        (b"/etc/passwd", b"permission denied"),
        (b"/etc", b"permission denied"),
    ],
)
def test_says_why_the_program_cannot_be_executed(machine: str, tmp_path: Path, path: bytes, reason: bytes) -> None:
    gate = start_gate.open_gate()
    done = _run(stub.build(machine, path, gate), tmp_path, gate)
    os.close(gate)
    assert (done.returncode, done.stderr) == (1, b"exec " + path + b": " + reason + b"\n")


def test_ends_without_a_word_when_the_gate_is_closed(machine: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    done = _run(stub.build(machine, b"/bin/true", reading), tmp_path, reading)
    os.close(reading)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_waits_at_the_gate(machine: str, tmp_path: Path) -> None:
    program = tmp_path / "stub"
    reading, writing = os.pipe()
    program.write_bytes(stub.build(machine, b"/bin/true", reading))
    program.chmod(0o755)
    with subprocess.Popen([program], pass_fds=[reading]) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        os.write(writing, b"g")
        assert process.wait(10) == 0
    os.close(reading)
    os.close(writing)


def test_a_program_that_is_the_stub_itself_does_not_run_for_ever(machine: str, tmp_path: Path) -> None:
    gate = start_gate.open_gate()
    done = _run(stub.build(machine, b"/proc/self/exe", gate), tmp_path, gate)
    os.close(gate)
    assert done.returncode == 1


def test_nobody_can_write_to_it() -> None:
    gate = start_gate.open_gate()
    fd = stub.make("/bin/true", gate)
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
    os.close(fd)
    os.close(gate)


@pytest.mark.parametrize(("name", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_is_a_static_executable_of_the_processor(name: str, number: int) -> None:
    image = stub.build(name, b"/bin/true", 5)
    assert image[:5] == b"\x7fELF\x02"
    kind, machine = struct.unpack_from("<HH", image, 16)
    assert (kind, machine) == (2, number)
    assert len(image) < 8192
