"""Ends or disturbs one command at a chosen system call, with strace(1), and says what the store looks like afterwards.

Of a whole run those calls are picked that change the store: strace prints the paths behind descriptors. A picked call is named by its kind and
by how many of that kind its process made before; strace counts so for each process, so a child can be hit earlier, at another call of its own.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support import host
from tests.support.engine import Crate
from tests.support.programs import Result

CHANGING = (
    *(
        "openat",
        "openat2",
        "mkdir",
        "mkdirat",
        "rename",
        "renameat",
        "renameat2",
        "link",
        "linkat",
        "unlink",
        "unlinkat",
        "rmdir",
    ),
    *("symlink", "symlinkat", "mknodat", "write", "pwrite64", "copy_file_range", "ftruncate", "fallocate", "fsync", "syncfs"),
    *("fchmod", "chmod", "fchown", "fchownat", "lchown", "utimensat", "setxattr", "fsetxattr", "lsetxattr", "flock"),
)
PROCESSES = ("clone", "clone3", "fork", "vfork", "execve", "sendmsg", "sendto", "exit_group")
"""What changes nothing on disk, but begins, asks or ends a process that does."""
STRIDE = int(os.environ.get("CRATE_TEST_CRASH_POINTS") or 0)
"""1: every call, not a few of each kind; N: every N-th of each kind. Takes minutes for each command."""

_QUICK = "--seccomp-bpf"
"""Stop at the traced calls only. Not for kills: a signal is not delivered at such a stop, so the call would be made."""


class Crasher:
    """Of one store. `store` is put back to what it was by `keep` and `put_back`."""

    def __init__(self, crate: Crate, per_call: int) -> None:
        self.crate = crate
        self._per_call = per_call
        self._strace = host.program("strace")
        self._kept = crate.directory / "kept"

    def keep(self) -> None:
        subprocess.run(["rm", "-rf", str(self._kept)], check=True)
        self._kept.mkdir()
        for path in (self.crate.root, self.crate.runroot):
            if path.exists():
                subprocess.run(["cp", "-a", str(path), str(self._kept)], check=True)

    def put_back(self) -> None:
        for path in (self.crate.root, self.crate.runroot):
            subprocess.run(["rm", "-rf", str(path)], check=True)
            if (self._kept / path.name).exists():
                subprocess.run(["cp", "-a", str(self._kept / path.name), str(path)], check=True)

    def points(self, *words: str) -> list[tuple[str, int]]:
        """(call, k) of a whole run, spread evenly over each kind of call."""
        log = self.crate.directory / "strace"
        kinds = ",".join((*CHANGING, *PROCESSES))
        result = self._run([_QUICK, "-y", "-o", str(log), "-e", f"trace={kinds}", "-e", "signal=none"], words)
        assert result.status == 0, result
        found: dict[str, set[int]] = {}
        for call, k in self._changes(log.read_text(errors="replace")):
            found.setdefault(call, set()).add(k)
        log.unlink()
        chosen = []
        for call, all_k in sorted(found.items()):
            ordered = sorted(all_k)
            count = -(-len(ordered) // STRIDE) if STRIDE else min(len(ordered), self._per_call)
            chosen += [(call, ordered[len(ordered) * place // count]) for place in range(count)]
        return chosen

    def _changes(self, log: str) -> Iterator[tuple[str, int]]:
        counts: dict[tuple[str, str], int] = {}
        for process, call, arguments in re.findall(r"^(\d+) +(\w+)\((.*)", log, re.MULTILINE):
            counts[process, call] = counts.get((process, call), 0) + 1
            if call in PROCESSES or self._is_change(call, arguments):
                yield call, counts[process, call]

    def _is_change(self, call: str, arguments: str) -> bool:
        if str(self.crate.root) not in arguments:
            return False
        return call not in ("openat", "openat2") or "O_CREAT" in arguments or "O_TRUNC" in arguments

    def kill(self, call: str, k: int, *words: str) -> Result:
        return self._inject(call, f"signal=KILL:when={k}", words)[0]

    def fail(self, call: str, k: int, error: str, *words: str) -> tuple[Result, str]:
        """What came of it, and the calls on the store that failed, as strace prints them: empty when no process got as far."""
        result, log = self._inject(call, f"error={error}:when={k}", words, _QUICK)
        failed = [line for line in log.splitlines() if "(INJECTED)" in line and str(self.crate.root) in line]
        return result, "\n".join(failed)

    def _inject(self, call: str, what: str, words: Sequence[str], *flags: str) -> tuple[Result, str]:
        log = self.crate.directory / "injected"
        result = self._run([*flags, "-y", "-o", str(log), "-e", f"trace={call}", "-e", f"inject={call}:{what}"], words)
        return result, log.read_text(errors="replace")

    def _run(self, flags: list[str], words: Sequence[str]) -> Result:
        """Output goes into files: a container, or strace itself, may keep a pipe open."""
        command = [self._strace, "-D", "-f", "-qq", *flags, *self.crate.command(*words)]
        texts = [self.crate.directory / name for name in ("stdout", "stderr")]
        with open(texts[0], "wb") as out, open(texts[1], "wb") as err:
            process = self.crate.account.popen(
                command, env={"CRATE_CONFIG": "/dev/null"}, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
            status = process.wait(120)
        return Result(tuple(command), status, *(path.read_text(errors="replace") for path in texts))


def files(root: Path) -> dict[str, tuple[int, int, int]]:
    """Everything below a directory by inode, size and time, but for the files that are locked and never change."""
    found = {}
    for directory, directories, names in os.walk(root):
        for name in (*directories, *names):
            status = os.lstat(f"{directory}/{name}")
            found[f"{directory}/{name}"] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return {path: state for path, state in found.items() if "/locks" not in path and os.path.dirname(path) != str(root)}
