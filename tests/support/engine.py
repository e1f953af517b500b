"""crate's command line on a store of its own, as one user, with one low-level runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support import host
from tests.support.programs import Account, Result
from tests.support.terminal import Session


class Crate:
    """Called with words it runs `crate WORDS` to its end and returns the result; the exit status must be `status`."""

    def __init__(self, program: Path, directory: Path, account: Account, runtime: str | None = None) -> None:
        self.account = account
        self.directory = directory
        self.root = directory / "store"
        self.runroot = directory / "run"
        self.runtime = runtime
        self._program = program
        directory.mkdir(mode=0o700, exist_ok=True)
        os.chown(directory, account.uid, account.gid)

    @property
    def rootless(self) -> bool:
        return self.account.rootless

    def command(self, *words: str) -> list[str]:
        runtime = ["--runtime", self.runtime] if self.runtime else []
        return [str(self._program), "--root", str(self.root), "--runroot", str(self.runroot), *runtime, *words]

    def __call__(self, *words: str, status: int | None = 0, env: dict[str, str] | None = None, **options: Any) -> Result:
        # the settings of this host and user are not those of the test
        return self.account.run(self.command(*words), status=status, env={"CRATE_CONFIG": "/dev/null"} | (env or {}), **options)

    def out(self, *words: str, **options: Any) -> str:
        """Standard output without the last newline."""
        return self(*words, **options).out.removesuffix("\n")

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        return self.account.popen(self.command(*words), env={"CRATE_CONFIG": "/dev/null"}, **options)

    def terminal(self, *words: str) -> Session:
        return Session(self.account, self.command(*words))

    def inspect(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.out("inspect", name))[0]
        return document

    def remove_containers(self) -> list[str]:
        """All of them, running or not; returns what went wrong."""
        identities = self.out("ps", "-aq", "--no-trunc", status=None).split()
        results = [self("rm", "-f", identity, status=None) for identity in identities]
        return [str(result) for result in results if result.status]

    def left_behind(self) -> list[str]:
        """What a store without containers must not hold."""
        places = [self.root / name for name in ("containers", "names", "ingest", "trash")]
        places += [self.runroot / name for name in ("containers", "runtime")]
        return [str(entry) for place in places if place.is_dir() for entry in place.iterdir()]

    def destroy(self) -> None:
        """Images first: a user cannot remove files of other ids without the namespace that made them."""
        self.remove_containers()
        images = self.out("images", "-q", "--no-trunc", status=None).split()
        if images and not host.IS_ROOT:
            self("rmi", "-f", *images, status=None)
        shutil.rmtree(self.directory, ignore_errors=True)


def lines(result: Result) -> Sequence[str]:
    return result.out.splitlines()
