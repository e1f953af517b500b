"""The command line: what is measured, by whom, and where the figures go."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import breakdown, engine, images, pull, runtime, table, unpack
from benchmarks.measure import Failed, Row
from benchmarks.place import Place, install, make_place, memory_directory

_TURNS = 20


def main() -> int:
    options = _parser().parse_args()
    if options.vm:
        from benchmarks import vm

        return vm.run(options.n, breakdown=options.breakdown)
    try:
        with memory_directory() as directory:
            directory_of_programs = Path(options.bin).absolute() if options.bin else _announced(install, directory / "installed")
            print(table.machine())
            documents = _as_ourselves(options, directory, directory_of_programs)
            if options.user:
                documents += _as_user(options, directory, directory_of_programs)
    except Failed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": table.machine(), "rows": documents}, indent=1) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    parser.add_argument("-n", type=int, default=_TURNS, help=f"turns of each row (default {_TURNS}); long rows take a quarter")
    parser.add_argument(
        "--only", choices=("run", "engine", "images", "unpack", "pull"), action="append", help="measure this; may be repeated"
    )
    parser.add_argument(
        "--user", metavar="NAME", help="as root: measure once more as this ordinary user, who needs subordinate ids"
    )
    parser.add_argument(
        "--breakdown", action="store_true", help="with the low-level runtimes: what the time of one run consists of"
    )
    parser.add_argument(
        "--many", type=int, default=runtime.MANY, help=f"containers that are made at once (default {runtime.MANY})"
    )
    parser.add_argument("--json", metavar="FILE", help="write every sample there")
    parser.add_argument("--bin", metavar="DIRECTORY", help="measure this installation instead of a new one, e.g. .venv/bin")
    parser.add_argument("--vm", action="store_true", help="the low-level runtimes in the virtual machine that CRATE_VM names")
    return parser


def _announced(action: Callable[[Path], Path], directory: Path) -> Path:
    print("installing the checkout …", file=sys.stderr)
    return action(directory)


def _as_ourselves(options: argparse.Namespace, directory: Path, programs: Path) -> list[dict[str, Any]]:
    own = directory / "own"
    own.mkdir(mode=0o700)
    return _measure(options, make_place(pwd.getpwuid(os.geteuid()).pw_name, programs, own))


def _as_user(options: argparse.Namespace, directory: Path, programs: Path) -> list[dict[str, Any]]:
    """In a child that has become that user; what it found comes back in a file."""
    if os.geteuid() != 0:
        raise Failed("--user needs root; an ordinary user's figures come without it")
    try:
        entry = pwd.getpwnam(options.user)
    except KeyError:
        raise Failed(f"--user {options.user}: no such user") from None
    own = directory / "user"
    own.mkdir(mode=0o700)
    os.chown(own, entry.pw_uid, entry.pw_gid)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.initgroups(entry.pw_name, entry.pw_gid)
            os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
            os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
            os.chdir(own)
            documents = _measure(options, make_place(entry.pw_name, programs, own))
            (own / "found.json").write_text(json.dumps(documents))
            status = 0
        except Failed as failure:
            print(f"benchmarks: {failure}", file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise Failed(f"as {options.user}: no figures")
    found: list[dict[str, Any]] = json.loads((own / "found.json").read_text())
    return found


def _measure(options: argparse.Namespace, place: Place) -> list[dict[str, Any]]:
    wanted = options.only or ["run", "engine", "images", "unpack", "pull"]
    print(f"\nAs {place.label}:")
    documents: list[dict[str, Any]] = []

    def take(rows: list[Row]) -> None:
        documents.extend(_take(options, place, rows))

    if "run" in wanted:
        take(runtime.rows(place, options.many))
        print(*runtime.lines(place), sep="\n", flush=True)
        if options.breakdown:
            take(breakdown.rows(place))
            print(*breakdown.lines(place), sep="\n", flush=True)
    if "engine" in wanted:
        take(engine.rows(place))
    if "images" in wanted:
        take(images.rows(place))
    if "unpack" in wanted:
        try:
            take(unpack.rows(place))
            print(*unpack.lines(place), sep="\n", flush=True)
        except Failed as failure:
            place.note(f"no unpacking: {failure}")
    if "pull" in wanted:
        try:
            with pull.registry(place) as source:
                take(pull.rows(place, source))
        except Failed as failure:
            place.note(f"no pull: {failure}")
    for note in place.notes:
        print(f"note: {note}")
    return documents


def _take(options: argparse.Namespace, place: Place, rows: list[Row]) -> list[dict[str, Any]]:
    print(f"\n{table.heading(rows[0].section)}", flush=True)
    failed: set[str] = set()
    for row in rows:
        row.contenders = [contender for contender in row.contenders if contender.name not in failed]
        place.runner.measure(row, options.n)
        failed |= {contender.name for contender in row.contenders if contender.failure and contender is not row.contenders[0]}
        print(*table.lines(row), sep="\n", flush=True)
    return [table.document(place.label, row) for row in rows]
