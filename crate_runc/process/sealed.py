"""What the sealed interpreter runs: `python -I -S -X utf8 sealed.py SOCKET`, started by seal.py only."""

import sys

sys.path.insert(0, __file__.rsplit("/", 3)[0])

from crate_runc import pack

pack.install()

from crate_runc.process import channel, child  # noqa: E402

child.run(channel.from_fd(int(sys.argv[1])), through_stub=False, is_init=False)
