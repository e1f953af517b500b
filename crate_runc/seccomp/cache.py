"""Compiled profiles, kept beside the state root: compiling one takes as long as all the rest of a start.

The name of a file is the hash of what the program depends on: the profile (not its flags and listener), this version, the machine and the kernel. A
file also says which libseccomp made it, by path, time and size, and counts only while that one is there: a newer one knows more system
calls. So the library is not loaded where there is nothing to compile. The directory is the caller's alone, like the state root: who can
write there could as well replace the container's state.
"""

from __future__ import annotations

import _blake2
import os

from crate_runc import VERSION, strict_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INSTRUCTION = 8
_LONGEST = 4096 * _INSTRUCTION
_HEAD = 4096  # bytes that a path, a time and a size take at most
_MOST_FILES = 256
_ELSEWHERE = ("flags", "listenerPath", "listenerMetadata")


def load(seccomp: dict[str, Any], state_root: str) -> bytes:
    """The BPF program of a profile, compiled or kept from an earlier time. Raises RuncError."""
    directory = f"{state_root}.seccomp"
    path = f"{directory}/{_key(seccomp)}"
    program = _read(path) if _is_ours(directory) else None
    if program is None:
        from crate_runc.seccomp import compiler, rules

        program, library = compiler.compile_profile(rules.parse(seccomp))
        _write(directory, path, _identity(library) + b"\n" + program)
    return program


def _key(seccomp: dict[str, Any]) -> str:
    system = os.uname()
    profile = {name: value for name, value in seccomp.items() if name not in _ELSEWHERE}
    text = strict_json.dumps([VERSION, system.machine, system.release, system.version, profile])
    return _blake2.blake2b(text, digest_size=20).hexdigest()


def _identity(library: str) -> bytes:
    """Empty where it cannot be told."""
    try:
        status = os.stat(library)
    except OSError:
        return b""
    return b"%d %d %s" % (status.st_mtime_ns, status.st_size, os.fsencode(library))


def _is_ours(directory: str) -> bool:
    """Somebody else's, beside a state root in a place like /tmp, could give one profile's program to another."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022 and status.st_mode & 0o170000 == 0o040000


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        content = os.read(fd, _HEAD + _LONGEST + 1)
    finally:
        os.close(fd)
    head, _, program = content.partition(b"\n")
    whole = 0 < len(program) <= _LONGEST and len(program) % _INSTRUCTION == 0 and len(content) == status.st_size
    if not whole or status.st_uid != os.geteuid():
        return None
    return program if head and head == _identity(os.fsdecode(head.split(b" ", 2)[-1])) else None


def _write(directory: str, path: str, content: bytes) -> None:
    """A cache that cannot be written is none. It is emptied when it has grown large: old profiles are not asked for again."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        if not _is_ours(directory):
            return
        names = os.listdir(directory)
        for name in names if len(names) >= _MOST_FILES else ():
            os.unlink(f"{directory}/{name}")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, content)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        return
