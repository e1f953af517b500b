"""argv → one command → an exit status; an error → one line on standard error. Nothing but `cli` prints.

125 is an error of crate itself (1 in commands where docker has 1), 126 and 127 a program that cannot be run or found, 130 an interrupt.
"""

from __future__ import annotations

import os
import sys

from crate_engine.cli.parse import Misuse, parse
from crate_engine.cli.session import Session, open_streams, report
from crate_engine.errors import CrateError, RuntimeFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn, TextIO

    from crate_engine.cli.parse import Invocation

USAGE_FAILURE = 125
INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""
_MONITORS = {"run": "container", "start": "container", "exec": "exec"}
"""Commands that need a monitor, which starts up in its own process while this one imports what it needs."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's own, and return its exit status. Raises nothing."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        for stream in open_streams():  # a locale that lacks a character is no reason to fail
            stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
        status = _dispatch(words)
        for stream in open_streams():
            stream.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except Exception as error:
        return report(*_explained(error), USAGE_FAILURE)


def run_and_exit() -> NoReturn:
    """End the process with main's status at once: taking the interpreter down in order would cost a few ms, for nothing."""
    status = main()
    for stream in open_streams():
        try:
            stream.flush()
        except OSError:
            pass
    os._exit(status)


def _dispatch(words: list[str]) -> int:
    if "_CRATE_COMPLETE" in os.environ or words[:1] in (["--install-completion"], ["--show-completion"]):
        from crate_engine.cli.app import run_completion

        return run_completion(words)
    try:
        call = parse(words)
    except Misuse as error:
        return report(f"{error}; see '{' '.join(['crate', *error.command.split(), '--help'])}'", error.hint, USAGE_FAILURE)
    if call.help is not None:
        from crate_engine.cli.app import show_help

        return show_help(call.help)
    return _carry_out(call)


def _carry_out(call: Invocation) -> int:
    if call.command is None:
        from crate_engine import __version__

        print(f"crate version {__version__}")
        return 0
    module, _, name = call.command.run.partition(":")
    failure = call.command.failure
    try:
        if call.command.name in _MONITORS:
            from crate_engine.monitor.launch import prepare

            prepare(_MONITORS[call.command.name])
        __import__(module)
        status: int = getattr(sys.modules[module], name)(Session(call.globals, failure), **call.values)
        return status
    except CrateError as error:
        return report(str(error), error.hint, error.exit_code if isinstance(error, RuntimeFailed) and failure == 125 else failure)
    except BrokenPipeError:
        raise
    except Exception as error:
        if call.globals["log_level"] == "debug":
            import traceback

            traceback.print_exc()
        text, hint = _explained(error)
        return report(f"{call.command.name}: {text}", hint, failure)


def _explained(error: Exception) -> tuple[str, str | None]:
    """Text and hint for what no part of crate has translated."""
    if isinstance(error, OSError):
        where = f": {os.fsdecode(error.filename)}" if isinstance(error.filename, (str, bytes)) else ""
        return (error.strerror or str(error)).lower() + where, None
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("crate_"):
        return f"the Python package {error.name} is missing", "install crate-containers again, with its dependencies"
    return f"internal error: {type(error).__name__}: {error}", "crate --log-level debug shows where"


def _silence() -> None:
    """Let what is still buffered go nowhere: flushing it again would fail again, loudly."""
    devnull = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for stream in open_streams():
        if _broken(stream):
            os.dup2(devnull, stream.fileno())
    os.close(devnull)


def _broken(stream: TextIO) -> bool:
    try:
        stream.flush()
    except BrokenPipeError:
        return True
    return False


if __name__ == "__main__":
    run_and_exit()
