from __future__ import annotations

import errno
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crate_runc.kernel.calls import ANY, UNEXPECTED, At, Buffer, Call, CallError, Label, Value, check, constant, fail
from crate_runc.kernel.libc import MACHINE
from crate_runc.kernel.perform import perform
from crate_runc.process import program, stub
from crate_runc.steps import await_start

if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item

_QEMU = {"aarch64": "qemu-aarch64-static", "x86_64": "qemu-x86_64-static"}
_MACHINES = [MACHINE, *(name for name in _QEMU if name != MACHINE)]


@pytest.fixture(params=_MACHINES)
def machine(request: pytest.FixtureRequest) -> str:
    """Each processor; another one than this machine's is emulated."""
    name: str = request.param
    if name != MACHINE and shutil.which(_QEMU[name]) is None:
        pytest.skip(f"needs {_QEMU[name]}: the machine code for {name} is executed nowhere else")
    return name


class Stub:
    def __init__(self, machine: str, path: Path) -> None:
        self.command = [str(path)] if machine == MACHINE else [shutil.which(_QEMU[machine]) or "", str(path)]
        self.machine = machine
        self.path = path

    def write(self, items: list[Item], on_failure: list[Item]) -> list[str]:
        self.path.write_bytes(stub.build(self.machine, items, on_failure, told=True))
        self.path.chmod(0o755)
        return self.command

    def run(self, items: list[Item], on_failure: list[Item] | None = None, *fds: int) -> subprocess.CompletedProcess[bytes]:
        command = self.write(items, program.complaint() if on_failure is None else on_failure)
        return subprocess.run(command, pass_fds=fds, capture_output=True, env={"A": "b"}, timeout=20)


@pytest.fixture
def made(machine: str, tmp_path: Path) -> Stub:
    return Stub(machine, tmp_path / "stub")


def _say(text: bytes) -> Call:
    return Call("write", 1, text, len(text))


END = Call("exit_group", 0)


def _execute(*words: str, environment: tuple[str, ...] = (), message: str = "") -> Call:
    path, *_ = words
    arguments, variables = ([f"{word}\0".encode() for word in group] for group in (words, environment))
    return Call("execve", f"{path}\0".encode(), [*arguments, 0], [*variables, 0], message=message)


def test_executes_a_program_with_arguments_and_environment(made: Stub) -> None:
    done = made.run([_execute("/bin/sh", "-c", 'echo "$0 $1 $A"', "zero", "one", environment=("A=own",))])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"zero one own\n", b"")


def test_calls_are_made_in_their_order_and_results_kept(made: Stub) -> None:
    written = Buffer()
    again = Call("write", 1, b"123456789", Value(written))
    call = _say(b"four")
    call.store = written
    assert made.run([call, again, END]).stdout == b"four1234"


def test_a_forgiven_error_goes_on_elsewhere_and_success_can_skip(made: Stub) -> None:
    missing, later = Label(), Label()
    items: list[Item] = [
        Call("openat", -100, b"/nonexistent\0", 0, 0, forgive=(errno.ENOENT,), otherwise=missing),
        _say(b"not here"),
        missing,
        constant(0, Buffer(), then=later),
        _say(b"nor here"),
        later,
        Call("close", -1, forgive=ANY),
        _say(b"but here"),
        END,
    ]
    assert made.run(items).stdout == b"but here"


@pytest.mark.parametrize("forgiven", [(), (errno.EACCES, errno.ENOTDIR), tuple(set(ANY) - {errno.ENOENT})])
def test_an_error_that_is_not_forgiven_is_told_with_its_message(made: Stub, forgiven: tuple[int, ...]) -> None:
    done = made.run([Call("openat", -100, b"/nonexistent\0", 0, 0, forgive=forgiven, message="open it"), _say(b"no"), END])
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"open it: no such file or directory\n")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nonexistent/program", b"no such file or directory"),
        ("/etc/passwd", b"permission denied"),
        ("/etc", b"permission denied"),
    ],
)
def test_says_why_a_program_cannot_be_executed(made: Stub, path: str, reason: bytes) -> None:
    done = made.run([_execute(path, message=f"exec {path}")])
    assert (done.returncode, done.stderr) == (1, b"exec " + path.encode() + b": " + reason + b"\n")


def test_what_the_kernel_wrote_is_compared_under_a_mask(made: Stub) -> None:
    status = Buffer(256)
    mode = At(status, 28)
    items: list[Item] = [
        Call("statx", -100, b"/etc/passwd\0", 0, 3, status),
        check(mode, 0o170000, 0o100000),
        check(mode, 0o170000, 0o040000, equal=False, error=errno.EISDIR),
        _say(b"a file"),
        check(mode, 0o111, 0, equal=False, error=errno.EACCES, message="x"),
    ]
    done = made.run(items)
    assert (done.stdout, done.stderr) == (b"a file", b"x: permission denied\n")


def test_a_call_is_repeated_for_each_bit_and_its_results_are_together(made: Stub) -> None:
    """dup3 to descriptors 40, 41 and 44, which is their or-ed number, and close of all but one that is not open."""
    together = Buffer()
    mask = 1 << 40 | 1 << 41 | 1 << 44
    items: list[Item] = [
        Call("dup3", 1, 0, 0, each=mask, store=together),
        check(together, 0xFFFFFFFF, 40 | 41 | 44),
        *(_close(fd) for fd in (40, 41, 44)),
        Call("dup3", 1, 0, 0, each=1 << 50, expected=50),
        Call("dup3", 77, 0, 0, each=mask, message="dup"),
    ]
    assert made.run(items).stderr == b"dup: bad file descriptor\n"


def _close(fd: int) -> Call:
    return Call("close", fd)


def test_a_failure_of_what_follows_a_failure_ends_it(made: Stub) -> None:
    done = made.run([fail(errno.EPERM, "")], [Call("close", -1), _say(b"never")])
    assert (done.returncode, done.stdout) == (1, b"")


def test_a_clone_goes_on_in_both_processes(made: Stub) -> None:
    pid, parent = Buffer(), Label()
    items: list[Item] = [
        Call("clone", 17, 0, 0, 0, 0, store=pid),
        check(pid, 0xFFFFFFFF, 0, otherwise=parent),
        _say(b"c"),
        END,
        parent,
        _say(b"p"),
        END,
    ]
    assert sorted(made.run(items).stdout) == sorted(b"cp")


def test_which_call_failed_is_reported_as_its_address(made: Stub) -> None:
    """As exec does it: 16 bytes, which the parent turns into the call."""
    items: list[Item] = [Call("close", -1, forgive=ANY), Call("dup3", 1, 1, 0, expected=3, message="here"), END]
    report = Call("write", 1, program.FAILED, 16)
    done = made.run(items, [report, Call("exit_group", 3)])
    address, number = struct.unpack("<QQ", done.stdout)
    assert done.returncode == 3
    _, told = stub.make(items, [report])
    error = told.error_of(address, number)
    assert (error.call.name, error.call.message) == ("dup3", "here")
    assert errno.errorcode[error.errno] == "EINVAL"
    for wrong in (address + 1, 0, 1 << 63):
        with pytest.raises(ValueError, match="no call at"):
            told.error_of(wrong, 1)


def test_an_unexpected_result_is_an_error_of_its_own(made: Stub) -> None:
    done = made.run([Call("umask", 0o22, expected=0o7777), END], [Call("write", 1, program.FAILED, 16), END])
    assert struct.unpack("<QQ", done.stdout)[1] == UNEXPECTED


def _waiting(gate: int, socket: int) -> list[Item]:
    return [*await_start.wait_items(gate, socket), _execute("/bin/echo", "started")]


def test_tells_that_it_waits_and_waits_at_the_gate(made: Stub) -> None:
    reading, writing = os.pipe()
    heard, told = os.pipe()
    command = made.write(_waiting(reading, told), program.complaint())
    with subprocess.Popen(command, pass_fds=[reading, told], stdout=subprocess.PIPE) as process:
        assert os.read(heard, 100) == b"\0\0\0\x07created"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        os.write(writing, b"g")
        assert process.communicate(timeout=20)[0] == b"started\n"
    for fd in (reading, writing, heard, told):
        os.close(fd)


def test_ends_without_a_word_when_the_gate_is_closed(made: Stub) -> None:
    reading, writing = os.pipe()
    heard, told = os.pipe()
    os.close(writing)
    done = made.run(_waiting(reading, told), None, reading, told)
    for fd in (reading, heard, told):
        os.close(fd)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_a_program_that_is_the_stub_itself_does_not_run_for_ever(made: Stub) -> None:
    """Executed once more it has none of its descriptors."""
    reading, writing = os.pipe()
    heard, told = os.pipe()
    os.write(writing, b"g")
    items: list[Item] = [Call("fcntl", fd, 2, 1) for fd in (reading, told)]
    done = made.run([*items, *await_start.wait_items(reading, told), _execute("/proc/self/exe")], None, reading, told)
    for fd in (reading, writing, heard, told):
        os.close(fd)
    assert done.returncode == 1


def test_the_same_list_is_executed_in_place() -> None:
    """perform.py and the machine code mean the same."""
    status, seen, skipped = Buffer(256), Buffer(), Label()
    items: list[Item] = [
        Call("openat", -100, b"/nonexistent\0", 0, 0, forgive=(errno.ENOENT,), otherwise=skipped),
        fail(errno.EIO, "not here"),
        skipped,
        Call("statx", -100, b"/etc/passwd\0", 0, 3, status),
        check(At(status, 28), 0o170000, 0o100000),
        constant(status, seen),
        Call("dup3", 1, 0, 0, each=1 << 60 | 1 << 61, expected=60 | 61),
        *(_close(fd) for fd in (60, 61)),
        check(At(status, 28), 0o111, 0, equal=False, error=errno.EACCES, message="x"),
    ]
    with pytest.raises(CallError) as caught:
        perform(items)
    assert (caught.value.errno, caught.value.call.message) == (errno.EACCES, "x")
    assert seen.content != bytes(8)
    with pytest.raises(CallError) as caught:
        perform([Call("umask", 0o22, expected=0o7777)])
    assert caught.value.errno == UNEXPECTED


def test_nobody_can_write_to_it() -> None:
    fd, _ = stub.make([END], [])
    with pytest.raises(PermissionError):
        os.write(fd, b"x")
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    with pytest.raises(OSError):
        os.close(os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_TRUNC))
    os.close(fd)


@pytest.mark.parametrize(("name", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_is_a_static_executable_of_the_processor_whose_code_cannot_be_written(name: str, number: int) -> None:
    image = stub.build(name, [END], [])
    assert image[:5] == b"\x7fELF\x02"
    kind, machine = struct.unpack_from("<HH", image, 16)
    assert (kind, machine) == (2, number)
    flags = [struct.unpack_from("<II", image, 64 + 56 * index)[1] for index in range(3)]
    assert flags == [5, 6, 6]  # read and execute, read and write, a stack that is not executable
    assert len(image) < 8192
