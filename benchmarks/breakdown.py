"""What the time of one `crate-runc run` consists of, as far as it shows from outside."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
from pathlib import Path

from benchmarks import runtime, timeline
from benchmarks.measure import Contender, Row
from benchmarks.place import Place

SECTION = "parts of crate-runc run"
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| +(\S+)")
_LONGEST = 10
_TURNS = 7


def rows(place: Place) -> list[Row]:
    python = place.runner.python
    main = str(_main(place))
    parts = (
        ("fork and exec of sh", ["/bin/sh", "-c", ":"]),
        ("bare python3 -I -S", [python, "-I", "-S", "-c", "pass"]),
        ("crate-runc --version, no launcher", [python, "-I", "-S", main, "--version"]),
        ("crate-runc --version", [str(place.bin / "crate-runc"), "--version"]),
        ("crate --version", [str(place.bin / "crate"), "--version"]),
    )

    def contender(name: str, command: list[str]) -> Contender:
        return Contender(name, lambda turn: [command])

    return [Row(SECTION, "starting", [contender(name, command) for name, command in parts], compared=False)]


def _main(place: Place) -> Path:
    (main,) = place.bin.parent.glob("lib/python3*/site-packages/crate_runc/__main__.py")
    return main


def lines(place: Place) -> list[str]:
    """Beside the rows: imports and system calls of one run of the bundle that the rows of `runtime` are about."""
    runtimes = runtime.found(place)
    bundle = str(place.directory / "bundle")
    return [*_imports(place, bundle), *_system_calls(place, runtimes, bundle)]


def _imports(place: Place, bundle: str) -> list[str]:
    """How long the imports of the parent take, by Python's own account, which slows them down, and which take longest."""
    start = [place.runner.python, "-I", "-S", "-X", "importtime", str(_main(place))]
    said = _said_by([*start, "--root", str(place.directory / "run/parts"), "run", "--bundle", bundle, "parts"], place)
    found = [(int(own) / 1000, name) for own, _, name in _IMPORT.findall(said or "")]
    if not found:
        return []
    total, ours = sum(took for took, _ in found), [took for took, name in found if name.startswith("crate_runc")]
    longest = sorted(found, reverse=True)[:_LONGEST]
    return [
        f"imports: {len(found)} modules take {total:.1f} ms, {len(ours)} of them crate_runc's with {sum(ours):.1f} ms; the longest:",
        "  " + ", ".join(f"{name.removeprefix('crate_runc.')} {took:.1f}" for took, name in longest),
    ]


def _system_calls(place: Place, runtimes: dict[str, str], bundle: str) -> list[str]:
    """What strace counts in all processes of one run, how long they were in these calls, and when the phases of a run begin."""
    strace = shutil.which("strace")
    if strace is None:
        return ["strace is not installed: no count of system calls"]
    report = place.directory / "scratch" / "strace"
    lines, times = [], []
    for name, path in runtimes.items():
        root = str(place.directory / "run" / f"strace-{name}")
        command = [path, "--root", root, "run", "--bundle", bundle, f"strace-{name}"]
        _said_by(command, place)  # which fills its caches
        counting = [strace, "-c", "--summary-wall-clock", "-f", "-o", str(report)]
        if _said_by([*counting, *command], place) is None:
            continue
        lines += _counted(name, report.read_text())
        turns = []
        for _ in range(_TURNS):
            if _said_by([*timeline.command(strace, str(report)), *command], place) is not None:
                turns.append(timeline.marks(report.read_text(), root, runtime.PROGRAM))
        times.append(f"  {name}: " + ", ".join(f"{mark} {at:.1f}" for mark, at in _medians(turns).items()))
    return [*lines, "milliseconds from the start, traced, in the median:", *times]


def _medians(turns: list[dict[str, float]]) -> dict[str, float]:
    return {mark: statistics.median(turn[mark] for turn in turns if mark in turn) for mark in turns[0]} if turns else {}


def _said_by(command: list[str], place: Place) -> str | None:
    """What it writes on standard error; None when it fails."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(command, env=place.runner.environment, text=True, **streams)  # type: ignore[call-overload]
    return None if done.returncode else str(done.stderr)


def _counted(name: str, report: str) -> list[str]:
    """Times are inflated by the tracing, most where calls are many; what waits for another process is among them."""
    rows = [
        fields for line in report.splitlines() if (fields := line.split()) and fields[0][0].isdigit() and fields[-1] != "total"
    ]
    calls = sorted(((int(fields[3]), fields[-1]) for fields in rows), reverse=True)
    times = sorted(((float(fields[1]) * 1000, fields[-1]) for fields in rows), reverse=True)
    return [
        f"system calls of {name}: {sum(count for count, _ in calls)}: "
        + ", ".join(f"{call} {count}" for count, call in calls[:_LONGEST]),
        "  milliseconds in them: " + ", ".join(f"{call} {took:.1f}" for took, call in times[:_LONGEST]),
    ]
