"""Entry of the monitor, started by launch.py as `python -I -S __main__.py container|exec` with its control socket as fd 3."""

import sys

# -I and -S leave only the standard library on the path; it stays first, so that nothing installed beside us can replace it.
sys.path.append(__file__.rpartition("/crate_engine/")[0])

from crate_engine.monitor import process

process.main(sys.argv[1])
