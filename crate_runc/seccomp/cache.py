"""Compiled profiles, kept beside the state root: compiling one takes as long as all the rest of a start.

The name of a file is the hash of the profile and of what compiled it. The directory is the caller's alone, like the state root: who can write
there could as well replace the container's state.
"""

from __future__ import annotations

import _blake2
import os

from crate_runc import VERSION, strict_json
from crate_runc.seccomp import rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_INSTRUCTION = 8
_LONGEST = 4096 * _INSTRUCTION


def load(seccomp: dict[str, Any], state_root: str) -> bytes:
    """The BPF program of a profile, compiled or kept from an earlier time. Raises RuncError."""
    directory = f"{state_root}.seccomp"
    text = strict_json.dumps([VERSION, os.uname().machine, seccomp])
    path = f"{directory}/{_blake2.blake2b(text, digest_size=20).hexdigest()}"
    program = _read(path)
    if program is None:
        from crate_runc.seccomp import compiler

        program = compiler.compile_profile(rules.parse(seccomp))
        _write(directory, path, program)
    return program


def _read(path: str) -> bytes | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        program = os.read(fd, _LONGEST + 1)
    finally:
        os.close(fd)
    whole = 0 < len(program) <= _LONGEST and len(program) % _INSTRUCTION == 0 and len(program) == status.st_size
    return program if whole and status.st_uid == os.geteuid() else None


def _write(directory: str, path: str, program: bytes) -> None:
    """A cache that cannot be written is none."""
    temporary = f"{path}.{os.getpid()}"
    try:
        os.makedirs(directory, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, program)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        return
