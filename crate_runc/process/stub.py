"""The stub: a program of a few hundred bytes that waits at the start gate and executes the container's program, in place of Python.

/proc/PID/exe of the process that calls execve for the container must not be the host's Python: a program that is a link (or a script, or an
ELF interpreter) `/proc/self/exe` would run it inside the container, which could then write to it (CVE-2019-5736). So before that execve the
child becomes this stub, which lives in a sealed memfd and is made anew for each container. It needs no library and no memory to speak of, and
a created container that waits for `start` waits in it.

The machine code below is all there is to it, for both architectures: poll(gate), read(gate, 1 byte), set close-on-exec on the gate,
execve(path, argv, envp) with the stub's own argv and envp; where that fails, write the reason to stderr and exit with status 1. A stub that is
executed once more has no gate and exits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from crate_runc.kernel.libc import MACHINE

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10  # Linux 6.3: asked for by name where vm.memfd_noexec is 1
_BASE = 0x400000
_DATA = 0x200  # where the data starts in the file: pollfd, path, prefix, its length, then 134 pairs (address, length) of texts
_ERRORS = 134

_X86_64 = bytes.fromhex(
    "4889e5"  # mov rbp, rsp
    "bb00024000"  # mov ebx, data
    "4883ec10 488b03 48890424"  # pollfd to the stack, where the kernel may write
    "b80f010000 4889e7 be01000000 31d2 4531d2 41b808000000 0f05"  # ppoll(&pollfd, 1, 0, 0, 8)
    "31c0 8b3b 4889e6 ba01000000 0f05"  # read(gate, stack, 1)
    "4883f801 7568"  # cmp rax, 1; jne quit
    "b848000000 8b3b be02000000 ba01000000 0f05"  # fcntl(gate, F_SETFD, FD_CLOEXEC)
    "b83b000000 488b7b08 488d7508 488b5500 488d54d510 0f05"  # execve(path, argv, envp)
    "48f7d8 483d85000000 7602 31c0"  # errno, or 0 where it is beyond the table
    "448b64c320 448b6cc324"  # its text and the length of that
    "b801000000 bf02000000 488b7310 488b5318 0f05"  # write(2, prefix)
    "b801000000 bf02000000 4489e6 4489ea 0f05"  # write(2, text)
    "b8e7000000 bf01000000 0f05"  # quit: exit_group(1)
)
_AARCH64 = struct.pack(
    "<52I",
    *(0x910003F4, 0xD2804013, 0xF2A00813),  # x20 = sp; x19 = data
    *(0xD10043FF, 0xF9400260, 0xF90003E0),  # pollfd to the stack
    *(0x910003E0, 0xD2800021, 0xD2800002, 0xD2800003, 0xD2800104, 0xD2800928, 0xD4000001),  # ppoll
    *(0xB9400260, 0x910003E1, 0xD2800022, 0xD28007E8, 0xD4000001),  # read
    *(0xF100041F, 0x540003C1),  # cmp x0, 1; b.ne quit
    *(0xB9400260, 0xD2800041, 0xD2800022, 0xD2800328, 0xD4000001),  # fcntl
    *(0xF9400660, 0x91002281, 0xF9400282, 0x8B020E82, 0x91004042, 0xD2801BA8, 0xD4000001),  # execve
    *(0xCB0003E0, 0xF102141F, 0x54000049, 0xD2800000),  # errno, or 0
    *(0x8B000E63, 0xB9402075, 0xB9402476),  # its text
    *(0xD2800040, 0xF9400A61, 0xF9400E62, 0xD2800808, 0xD4000001),  # write
    *(0xD2800040, 0xAA1503E1, 0xAA1603E2, 0xD2800808, 0xD4000001),  # write
    *(0xD2800020, 0xD2800BC8, 0xD4000001),  # quit: exit_group(1)
)
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def is_possible() -> bool:
    """Whether a memfd may be executed here (vm.memfd_noexec is 2 where not), and the processor is one of ours."""
    if MACHINE not in _MACHINES:
        return False
    try:
        with open("/proc/sys/vm/memfd_noexec", "rb", buffering=0) as file:
            return file.read(1) != b"2"
    except FileNotFoundError:
        return True


def make(path: str, gate: int) -> int:
    """A sealed, close-on-exec memfd to be executed with the program's argv and envp; `gate` must then be open in it under that number."""
    image = build(MACHINE, os.fsencode(path), gate)
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("crate-runc", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        fd = os.memfd_create("crate-runc", flags)
    os.write(fd, image)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd


def build(machine: str, path: bytes, gate: int) -> bytes:
    """The bytes of the executable."""
    number, code = _MACHINES[machine]
    texts = [os.strerror(index).lower().encode() + b"\n" for index in range(_ERRORS)]
    texts[0] = b"failed\n"
    prefix = b"exec " + path + b": "
    strings, places = b"", []
    at = _BASE + _DATA + 32 + 8 * _ERRORS
    for text in (path + b"\0", prefix, *texts):
        places.append((at + len(strings), len(text)))
        strings += text
    data = struct.pack("<iHH3Q", gate, 1, 0, places[0][0], places[1][0], len(prefix))
    data += b"".join(struct.pack("<II", *place) for place in places[2:])
    size = _DATA + len(data) + len(strings)
    # Elf64_Ehdr, then two Elf64_Phdr: all of the file, readable and executable; and a stack that is not executable
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + 176, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    )
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    header += struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return (header + code).ljust(_DATA, b"\0") + data + strings
