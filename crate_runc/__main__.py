"""The entry: `python -I -S -X utf8 …/crate_runc/__main__.py ARGUMENTS`, started by the launcher.

The child of exec is started before anything else is loaded, so that both interpreters start at once.
"""

import gc
import sys

gc.disable()  # every command ends before there is anything to collect
sys.path.insert(0, __file__.rsplit("/", 2)[0])

from crate_runc import pack  # noqa: E402

pack.install()


def _verb(arguments: list[str]) -> str:
    """A guess, as the flags are not parsed yet; a child that was started in vain is ended."""
    for word in arguments:
        if word in ("create", "run", "exec", "--help", "-h"):
            return word
    return ""


def _start_child(verb: str) -> None:
    if verb == "exec":
        from crate_runc.process import start

        start.seal_early()


_start_child(_verb(sys.argv[1:]))

import os  # noqa: E402

from crate_runc import cli  # noqa: E402

status = cli.main(sys.argv[1:])
if "crate_runc.process.start" in sys.modules:
    sys.modules["crate_runc.process.start"].discard_early()
pack.refresh()
os._exit(status)  # all output is written by os.write: nothing is left to flush, and taking the interpreter down costs 2 ms
