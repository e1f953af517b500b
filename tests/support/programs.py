"""Programs that tests start: who runs them, with which environment, and what came of it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARK = "CRATE_TEST_RUN"
"""A variable of the environment: the leak check finds what a test started by it."""
SLOW = float(os.environ.get("CRATE_TEST_SLOWDOWN", "1"))
"""How many times slower than a common machine this one is; time limits are multiplied by it."""


@dataclass(frozen=True)
class Result:
    command: tuple[str, ...]
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"$ {' '.join(self.command)}\nstatus {self.status}\n--- stdout\n{self.out}--- stderr\n{self.err}"


@dataclass(frozen=True)
class Account:
    """A user of this host, as a login would set it up. `temporary` is its TMPDIR."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path
    runtime_dir: Path
    temporary: Path

    @property
    def rootless(self) -> bool:
        return self.uid != 0

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        values = {
            "PATH": PATH,
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "XDG_RUNTIME_DIR": str(self.runtime_dir),
            "TMPDIR": str(self.temporary),
            "LANG": "C.UTF-8",
            MARK: str(os.getpid()),
        }
        if "DBUS_SESSION_BUS_ADDRESS" in os.environ and self.uid == os.geteuid():
            values["DBUS_SESSION_BUS_ADDRESS"] = os.environ["DBUS_SESSION_BUS_ADDRESS"]
        return values | dict(extra or {})

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | str | None = None, **options: object
    ) -> subprocess.Popen[bytes]:
        """Start it as this user, in its home by default. Standard streams are as `options` say."""
        identity: dict[str, object] = {}
        if self.uid != os.geteuid():
            identity = {"user": self.uid, "group": self.gid, "extra_groups": list(self.groups)}
        process: subprocess.Popen[bytes] = subprocess.Popen(
            [str(word) for word in command],
            env=self.environment(env),
            cwd=str(cwd or self.home),
            **identity | options,  # type: ignore[call-overload]
        )
        return process

    def run(
        self,
        command: Sequence[str],
        *,
        input: str | None = None,
        timeout: float = 60,
        status: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
        **options: object,
    ) -> Result:
        """Run it to its end. With `status`, any other exit status fails the test."""
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        stdin = {"stdin": subprocess.DEVNULL if input is None else subprocess.PIPE}
        process = self.popen(command, env=env, cwd=cwd, **stdin | streams | options)
        try:
            out, err = process.communicate(None if input is None else input.encode(), timeout=timeout * SLOW)
        except subprocess.TimeoutExpired:
            process.kill()
            texts = "\n".join(_what_is_there(process))
            raise AssertionError(f"no end after {timeout * SLOW:g} s: {' '.join(map(str, command))}\n{texts}") from None
        result = Result(tuple(map(str, command)), process.returncode, _text(out), _text(err))
        assert status is None or result.status == status, f"exit status is not {status}\n{result}"
        return result


def _what_is_there(process: subprocess.Popen[bytes]) -> tuple[str, str]:
    """A descendant may hold the pipes open for ever: do not wait for their end."""
    texts = []
    for stream in (process.stdout, process.stderr):
        if stream is None:
            texts.append("")
            continue
        os.set_blocking(stream.fileno(), False)
        texts.append(_text(stream.read()))
        stream.close()
    process.wait()
    return texts[0], texts[1]


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="backslashreplace")


def eventually(probe: Callable[[], T], what: str, *, within: float = 10) -> T:
    """The first true answer of `probe`; the test fails when there is none in time."""
    deadline = time.monotonic() + within * SLOW
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"{what}: not within {within * SLOW:g} s"
        time.sleep(0.02)
