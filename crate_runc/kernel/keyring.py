"""keyctl(2): a session keyring of one's own."""

from __future__ import annotations

import errno
import os

from crate_runc.kernel.libc import syscall

_JOIN_SESSION_KEYRING = 1


def join_new_session(name: str) -> bool:
    """Leave the caller's keys behind. False where there are no keyrings, or the quota of keys is used up: nothing is inherited then either way
    that a filter of keyctl would not stop."""
    try:
        syscall("keyctl", _JOIN_SESSION_KEYRING, os.fsencode(name))
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EDQUOT, errno.ENOSPC, errno.EPERM):
            return False
        raise
    return True
