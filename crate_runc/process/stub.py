"""The stub: a program of a few hundred bytes that executes a list of system calls in place of Python, of which the last is the container's execve.

/proc/PID/exe of a process that is in a container must not be the host's Python: a program that is a link (or a script, or an ELF
interpreter) `/proc/self/exe` would run it inside the container, which could then write to it (CVE-2019-5736). The stub lives in a sealed memfd, is made
anew for each process, and holds nothing but that process's own calls. It needs no library and no memory to speak of. create ends in it, and there the
created container waits for `start`; exec enters the container with it, from outside, so that no Python is ever in there.

The machine code below is all there is to it, for both architectures: for each entry (program.py) load its arguments, make the system call, or
compare or add; keep the result; go on to the next entry, to that for an error that is forgiven, or to the one for failures.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from crate_runc.kernel.libc import MACHINE, numbers_of
from crate_runc.process.program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from crate_runc.kernel.calls import Item

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_MFD_EXEC = 0x10  # Linux 6.3: asked for by name where vm.memfd_noexec is 1
_BASE = 0x400000
_DATA = 0x1000  # where the program starts in the file; in memory it is in pages of its own, even where a page has 64 KiB
_PLACE = _BASE + 0x10000 + _DATA

_X86_64 = bytes.fromhex(
    "41bc20104100 bb08104100"  # entry (r12) = the first; failed (rbx)
    "4d8b6c2458 4531f6"  # loop: the bits to repeat for (r13), all results together (r14)
    "31c9"  # again: for each of 6 arguments
    "498b54cc28 410fa34c2404 7303 488b12 52"  # its word, or the word at that address, to the stack
    "ffc1 83f906 75e8"
    "4159 4158 415a 5a 5e 5f"  # into r9 r8 r10 rdx rsi rdi
    "4d85ed 7408 490fbcf5 490fb3f5"  # the second is the lowest bit's number, which is gone then
    "418b0424 0fbae010 7264 0f05"  # number; bit 16: jb ours; syscall
    "498b4c2420 488901"  # result: keep it
    "483d01f0ffff 7315"  # jae error
    "4909c6 4c8931 4d85ed 75a9"  # keep all together; jnz again
    "418b442408"  # distance of the next entry
    "4901c4 eb97"  # next: entry += distance; jmp loop
    "f7d8 4c8923 48894308"  # error: which entry, which errno
    "3d80000000 730f 410fa3442410 7307"  # not one of those that are forgiven: fail
    "418b44240c ebdc"  # distance for a forgiven error; jmp next
    "4c8b63f8 488363f800 4d85e4 0f8566ffffff"  # fail: entry = failure; failure = 0; jnz loop
    "b8e7000000 bf01000000 0f05"  # exit_group(1)
    "a801 750c 4889f8 48c1e604 4801f0 eb8e"  # ours: offset: rdi + 16 rsi; jmp result
    "8b0f 21f1 31c0 39d1 0f94c0 4431d0 0f847affffff"  # compare: ([rdi] & rsi == rdx) == r10; je result
    "4c89c0 48f7d8 e96fffffff"  # -r8; jmp result
)
_AARCH64 = struct.pack(
    "<71I",
    *(0xD2820413, 0xF2A00833, 0xD2820114, 0xF2A00834),  # entry (x19) = the first; failed (x20)
    *(0xF9402E75, 0xD2800016),  # loop: the bits to repeat for (x21), all results together (x22)
    *(0xB9400669, 0x9100A26A, 0xD100C3FF, 0x910003EB, 0xD280000C),  # again: for each of 6 arguments
    *(0xF86C794D, 0x1ACC252E, 0x3600004E, 0xF94001AD, 0xF82C796D),  # its word, or the word at that address, to the stack
    *(0x9100058C, 0xF100199F, 0x54FFFF21),
    *(0xA94007E0, 0xA9410FE2, 0xA94217E4, 0x9100C3FF),  # into x0 … x5
    *(0xB40000B5, 0xDAC002A1, 0xDAC01021, 0xD10006A9, 0x8A0902B5),  # the second is the lowest bit's number, which is gone then
    *(0xB9400268, 0x378003E8, 0xD4000001),  # number; bit 16: ours; svc
    *(0xF9401269, 0xF9000120),  # result: keep it
    *(0xB13FFC1F, 0x54000102),  # b.hs error
    *(0xAA0002D6, 0xF9401269, 0xF9000136, 0xB5FFFC15),  # keep all together; cbnz again
    *(0xB9400A69, 0x8B090273, 0x17FFFFDB),  # next: entry += distance of the next; b loop
    *(0x4B0003E0, 0xA9000293),  # error: which entry, which errno
    *(0x7102001F, 0x54000122, 0x91004269, 0x53037C0A, 0x386A692A, 0x1200080B, 0x1ACB254A, 0x3600006A),  # not forgiven: fail
    *(0xB9400E69, 0x17FFFFF3),  # distance for a forgiven error; b next
    *(0xF85F8293, 0xF81F829F, 0xB5FFF993),  # fail: entry = failure; failure = 0; cbnz loop
    *(0xD2800BC8, 0xD2800020, 0xD4000001),  # exit_group(1)
    *(0x37000068, 0x8B011000, 0x17FFFFE1),  # ours: offset: x0 + 16 x1; b result
    *(0xB9400009, 0x0A010129, 0x6B02013F, 0x1A9F17E9, 0xCB0403EA, 0x6B03013F, 0x9A8A03E0, 0x17FFFFD9),  # compare; b result
)
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64)}


def is_possible() -> bool:
    """Whether a process without privileges can make one: a memfd may be executed here, and the processor is one of ours."""
    if MACHINE not in _MACHINES:
        return False
    try:
        os.close(_memory())
    except OSError:
        return False
    return True


def make(items: list[Item], on_failure: list[Item], *, told: bool = False) -> tuple[int, Program]:
    """A sealed, close-on-exec file to be executed, and what it says of errors (see Program). The descriptors that the calls name must then be open in
    it under the same numbers."""
    program = Program(items, on_failure, numbers=numbers_of(MACHINE), base=_PLACE, told=told)
    image = executable(MACHINE, program.content)
    try:
        fd = _memory()
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EACCES):
            raise
        return _file_in_a_tree_of_its_own(image, error), program
    _write(fd, image)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return fd, program


def _memory() -> int:
    """Raises OSError: EACCES where vm.memfd_noexec is 2."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create("crate-runc", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.memfd_create("crate-runc", flags)


def _file_in_a_tree_of_its_own(image: bytes, refused: OSError) -> int:
    """Where no memfd may be executed: a file of a tmpfs that is mounted nowhere and read-only from then on, as seal.py has a directory of the host. That
    takes privileges."""
    from crate_runc.kernel import mount

    try:
        tree = mount.new_filesystem("tmpfs", {"mode": "0700", "size": "1m"}, mount.ATTR_NOSUID | mount.ATTR_NODEV)
    except OSError:
        raise OSError(
            refused.errno, f"{os.strerror(refused.errno or 0)}: memfd_create(2) with MFD_EXEC (vm.memfd_noexec)"
        ) from None
    try:
        fd = os.open("crate-runc", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o500, dir_fd=tree)
        try:
            _write(fd, image)
        finally:
            os.close(fd)
        mount.set_attributes(tree, add=mount.ATTR_RDONLY)
        return os.open("crate-runc", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=tree)
    finally:
        os.close(tree)


def _write(fd: int, image: bytes) -> None:
    rest = memoryview(image)
    while rest:
        rest = rest[os.write(fd, rest) :]


def build(machine: str, items: list[Item], on_failure: list[Item], *, told: bool = False) -> bytes:
    """The bytes of the executable, for any of our processors."""
    return executable(machine, Program(items, on_failure, numbers=numbers_of(machine), base=_PLACE, told=told).content)


def executable(machine: str, program: bytes) -> bytes:
    """An Elf64_Ehdr, then three Elf64_Phdr: the code; the program, which it may write to; and a stack that is not executable."""
    number, code = _MACHINES[machine]
    text = 64 + 3 * 56
    header = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 2, number, 1, _BASE + text, 64, 0, 0, 64, 56, 3, 64, 0, 0)
    )
    size = text + len(code)
    header += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    header += struct.pack("<IIQQQQQQ", 1, 6, _DATA, _PLACE, _PLACE, len(program), len(program), 0x10000)
    header += struct.pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return (header + code).ljust(_DATA, b"\0") + program
