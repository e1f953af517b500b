"""What `crate-runc ps` shows: the lines of the host's ps(1) that belong to the container's processes."""

from __future__ import annotations

from crate_runc.errors import RuncError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def table(pids: Iterable[int], arguments: list[str]) -> str:
    """Runs ps(1) with `arguments`. Raises RuncError where it is missing, fails, or shows no column PID."""
    import subprocess

    try:
        done = subprocess.run(["ps", *arguments], capture_output=True, text=True, errors="replace", check=False)
    except FileNotFoundError:
        raise RuncError("ps: the host has no program ps; the Debian package is procps; --format json does without") from None
    if done.returncode != 0:
        raise RuncError(f"ps {' '.join(arguments)}: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return chosen(done.stdout, set(pids))


def chosen(output: str, pids: set[int]) -> str:
    """The heading and the lines of `pids`. Raises RuncError for output without a column PID."""
    heading, *lines = output.splitlines()
    titles = heading.split()
    if "PID" not in titles:
        raise RuncError("ps: its output has no column PID; ask for one, as with -o pid,args")
    column = titles.index("PID")
    kept = [line for line in lines if line.split()[column].isdigit() and int(line.split()[column]) in pids]
    return "".join(f"{line}\n" for line in [heading, *kept])
