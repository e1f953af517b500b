"""The entry: `python -I -S -X utf8 …/crate_runc/__main__.py ARGUMENTS`, started by the launcher."""

import gc
import posix
import sys

gc.disable()  # every command ends before there is anything to collect
for fd in (0, 1, 2):
    try:
        posix.fstat(fd)
    except (
        OSError
    ):  # closed by the caller: it must not become a descriptor of ours, which the container's program would find there
        posix.set_inheritable(posix.open("/dev/null", posix.O_RDWR), True)
sys.path.insert(0, __file__.rsplit("/", 2)[0])

from crate_runc import pack  # noqa: E402

if "--debug" not in sys.argv:  # which shows lines of the source, that the pack does not know
    pack.install()

import os  # noqa: E402

from crate_runc import cli  # noqa: E402

status = cli.main(sys.argv[1:])
pack.refresh()
os._exit(status)  # all output is written by os.write: nothing is left to flush, and taking the interpreter down costs 2 ms
