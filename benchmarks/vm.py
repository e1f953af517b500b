"""The low-level runtimes in a virtual machine: a host of pure cgroup v2, where crun starts as well.

All is emulated there: only the ratios mean something, and those not much, as a fork costs 75 times and Python's own work 15 times as much.
"""

from __future__ import annotations

import sys

from tests.vm.machine import INSIDE, PACKAGES, NoMachine, booted

_SECONDS = 1500
_INSTALL = """
from pathlib import Path
from tests.support import installation
target = Path("{inside}/installed")
target.mkdir()
installation.install(target)
"""


def run(turns: int, *, breakdown: bool) -> int:
    """What the benchmarks print in it is printed here; returns their exit status."""
    try:
        with booted() as machine:
            print("In a virtual machine, emulated: see the ratios alone.", flush=True)
            script = 'cd "$1/checkout" && export PYTHONPATH="$2" && python3 -c "$3" && exec benchmarks/run --only run -n "$4" --bin "$5" --many 12 $6'
            install = _INSTALL.format(inside=INSIDE)
            words = ["sh", INSIDE, PACKAGES, install, str(turns), f"{INSIDE}/installed/bin", "--breakdown" if breakdown else ""]
            return machine.run("sh", "-c", script, *words, timeout=_SECONDS, show=True)
    except NoMachine as lack:
        print(f"benchmarks: --vm: {lack}", file=sys.stderr)
        return 1
